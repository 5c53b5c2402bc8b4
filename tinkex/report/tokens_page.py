"""The page of one text, its tokens coloured by log-probability."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinkex.report.frame import fill
from tinkex.report.spelling import figures
from tinkex.report.tokens import Token, chance, minus, visible


def tokens_page(tokens: Sequence[Token], title: str, model: str) -> str:
    """Render the page of one text."""
    known = [token for token in tokens if token.logprob is not None]
    scored = sum(len(token.ids) for token in known)
    tiles = [("tokens", f"{sum(len(token.ids) for token in tokens):,}", f"{scored:,} with a log-probability")]
    if any(token.logprob is None for token in tokens[1:]):  # the first of a prompt never has one
        tiles.append(("log-probability", "?", "that of a token is not known"))
    elif known:
        total = sum(token.logprob or 0.0 for token in known)
        mean = total / scored
        perplexity = math.exp(min(-mean, 700.0)) if mean > -math.inf else math.inf
        tiles += [
            ("log-probability", minus(total), "of the whole text"),
            ("perplexity", figures(perplexity), f"{chance(mean)} per token"),
        ]
    if known:
        least = min(known, key=lambda token: token.logprob or 0.0)
        tiles.append(("least likely", visible(least.text), chance(least.logprob or 0.0)))
    return fill("logprobs.html", title=title, model=model, tiles=tiles, tokens=tokens, minus=minus)
