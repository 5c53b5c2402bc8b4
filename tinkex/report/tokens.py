"""Tokens for display: the text of each, its log-probability, and the alternatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from tinkex.report._shown import shown
from tinkex.tokenizers import token_runs

Decode = Callable[[Sequence[int]], str]
"""Turns token ids into text."""

Alternatives = Sequence[tuple[int, float]]
"""Other tokens for one place, the likeliest first, with their natural log-probabilities."""

SHADES: Final = (0.9, 0.5, 0.2, 0.05, 0.01)
"""Where one shade ends and the next, darker one begins, as probabilities."""


@attrs.frozen
class Token:
    """A token, or several that only together make a character, with its text.

    `logprob` is the natural log-probability of all of them, None where it is not known.
    """

    text: str
    ids: tuple[int, ...]
    logprob: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()

    @property
    def shade(self) -> int | None:
        """0 for a token that was all but certain, up to 5 for one under 1 %; None where nothing is known."""
        if self.logprob is None:
            return None
        return sum(self.logprob < math.log(limit) for limit in SHADES)

    @property
    def chance(self) -> str:
        """The probability in per cent."""
        return "" if self.logprob is None else chance(self.logprob)

    @property
    def label(self) -> str:
        """The tooltip: text, probability, ids and alternatives, a line each."""
        known = f"{self.chance}   log p {minus(self.logprob)}" if self.logprob is not None else "log p unknown"
        lines = [f"{visible(self.text)}   {known}"]
        lines += [f"token {' + '.join(map(str, self.ids))}"] if self.ids else []
        lines += ["instead:"] if self.alternatives else []
        lines += [f"{chance(logprob):>9}  {visible(text)}" for text, logprob in self.alternatives]
        return "\n".join(lines)


def chance(logprob: float) -> str:
    """Format a probability in per cent, with as many digits as it takes to tell it from zero.

    >>> [chance(logprob) for logprob in (0.0, -0.693147, -7.5, -30)]
    ['100.0 %', '50.0 %', '0.055 %', '9.4e-12 %']
    """
    percent = 100 * math.exp(min(logprob, 0.0))
    return f"{percent:.1f} %" if percent >= 1 or percent == 0 else f"{percent:.2g} %"


def minus(number: float) -> str:
    """Format a number with three decimals and a typographic minus sign."""
    return f"{number:.3f}".replace("inf", "∞").replace("-", "\N{MINUS SIGN}")


def visible(text: str) -> str:
    r"""Return the text on one line, its whitespace as visible signs.

    >>> visible(" a\n")
    '␣a↵'
    """
    return shown(text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥"))


def read_tokens(
    ids: Sequence[int],
    logprobs: Sequence[float | None] | None,
    decode: Decode | None,
    alternatives: Sequence[Alternatives | None] | None = None,
) -> list[Token]:
    """Pair token ids with their text and log-probabilities; without `decode` the text is the number."""
    runs = token_runs(ids, decode) if decode else ((n, n + 1, f"{token} ") for n, token in enumerate(ids))
    tokens = []
    for start, end, text in runs:
        others = alternatives[start] if alternatives and end - start == 1 and start < len(alternatives) else None
        before = ids[max(0, start - 1) : start]
        spelled = tuple((_alternative(token, before, decode), logprob) for token, logprob in others or ())
        tokens.append(Token(text, tuple(ids[start:end]), _together(logprobs, start, end), spelled))
    return tokens


def _alternative(token: int, before: Sequence[int], decode: Decode | None) -> str:
    """Decode a token after the one before it, at the beginning of a text alone, since it may bring a space."""
    if decode is None:
        return str(token)
    known, text = decode(before) if before else "", decode([*before, token])
    return text.removeprefix(known) if text.startswith(known) else decode([token])


def _together(logprobs: Sequence[float | None] | None, start: int, end: int) -> float | None:
    """Sum the log-probabilities of a run of tokens; None where that of one is not known."""
    total = 0.0
    for place in range(start, end):
        logprob = logprobs[place] if logprobs and place < len(logprobs) else None
        if logprob is None or math.isnan(logprob):
            return None
        total += logprob
    return total
