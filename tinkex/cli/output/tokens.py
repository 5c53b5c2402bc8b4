"""Output of tokens: the text of each, how likely it was, the alternatives; a table or colours on a terminal."""

from __future__ import annotations

import bisect
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from tinkex.cli._screen import console, harmless, print_text, table
from tinkex.tokenizers import Tokenizer, TokenPieces, token_runs
from tinkex.types import TopkLogprobs

_BOUNDS: Final = (0.01, 0.1, 0.5, 0.9)  # probabilities at which the colour changes
_STYLES: Final = ("white on red", "red", "yellow", "green", "bright_green")


@attrs.frozen
class TokenRow:
    """Row of a token table."""

    token: int
    text: str
    logprob: float | None
    likeliest: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens in its place, as text, and how likely each was."""

    def cells(self) -> list[str]:
        """Cells of the row: token id, log-probability, text with its spaces visible, alternatives if there are any."""
        others = "  ".join(f"{text!r} {logprob:.2f}" for text, logprob in self.likeliest)
        return [str(self.token), "-" if self.logprob is None else f"{self.logprob:.4f}", repr(self.text), others]


def token_rows(
    tokenizer: Tokenizer | None, tokens: Sequence[int], logprobs: Sequence[float | None] | None,
    topk: TopkLogprobs | None = None,
) -> list[TokenRow]:  # fmt: skip
    """Make a row of each token."""
    known = [None if value != value else value for value in logprobs or [None] * len(tokens)]
    pieces = None if tokenizer is None or topk is None else TokenPieces(tokenizer)
    rows = [None] * len(tokens) if topk is None else topk.rows
    others = [_likeliest(pieces, row, first=place == 0) for place, row in enumerate(rows)]
    return [TokenRow(*each) for each in zip(tokens, token_texts(tokenizer, tokens), known, others, strict=True)]


def token_texts(tokenizer: Tokenizer | None, tokens: Sequence[int]) -> list[str]:
    """Decode each token. Of tokens that make up one character, the last has its text and the others have none."""
    texts = [""] * len(tokens)
    if tokenizer is not None:
        for _, end, text in token_runs(tokens, tokenizer.decode):
            texts[end - 1] = text
    return texts


def print_tokens(rows: Sequence[TokenRow], *, colors: bool = False) -> None:
    """Print a token a line: a table on a terminal, tabs between the cells elsewhere."""
    width = 4 if any(row.likeliest for row in rows) else 3
    if not sys.stdout.isatty():
        for row in rows:
            print_text("\t".join(row.cells()[:width]))
        return
    from rich.text import Text

    drawn = table(*("token", "logprob", "text", "likeliest")[:width], right=2)
    for row in rows:
        cells = [Text(harmless(cell)) for cell in row.cells()[:width]]
        if colors and row.logprob is not None:
            cells[2].stylize(_style(row.logprob))
        drawn.add_row(*cells)
    console().print(drawn)


def coloured(rows: Iterable[TokenRow]) -> Any:
    """Text with each token coloured by how likely it was."""
    from rich.text import Text

    text = Text()
    for row in rows:
        text.append(harmless(row.text), "" if row.logprob is None else _style(row.logprob))
    return text


def legend() -> Any:
    """Legend of the colours."""
    from rich.text import Text

    names = ("under 1%", "1%", "10%", "50%", "90% and more")
    text = Text("likely: ")
    for name, style in zip(names, _STYLES, strict=True):
        text.append(name, style).append(" ")
    return text


def _style(logprob: float) -> str:
    return _STYLES[bisect.bisect_right(_BOUNDS, math.exp(min(logprob, 0.0)))]


def _likeliest(
    pieces: TokenPieces | None, row: Sequence[tuple[int, float]] | None, *, first: bool
) -> tuple[tuple[str, float], ...]:
    def text(token: int) -> str:
        return str(token) if pieces is None else pieces.text_of(token, first=first)

    return tuple((text(token), logprob) for token, logprob in row or ())
