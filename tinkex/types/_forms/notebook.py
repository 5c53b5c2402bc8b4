"""Fragments of HTML for notebooks: tokens coloured by log-probability.

Styles stand in the elements, so that a fragment changes nothing around it, and what surrounds it changes only colour
and size of its text. Colours are translucent, for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

_MOST_TOKENS: Final = 500
_MOST_ALTERNATIVES: Final = 10
_SHADES: Final = ((0.9, 0.0), (0.5, 0.14), (0.2, 0.26), (0.05, 0.4), (0.01, 0.54))
_DARKEST: Final = 0.72
_PLAIN: Final = "all:unset"  # of what the page around it says of all elements of a kind
_OWN: Final = f"{_PLAIN};display:block"
_QUIET: Final = f"{_PLAIN};opacity:.75;font-family:system-ui,sans-serif"
_MONO: Final = f"{_OWN};font-family:monospace;line-height:1.9;overflow-wrap:anywhere"
_BOX: Final = f"{_PLAIN};border-radius:3px;padding:2px"


def block(parts: Iterable[str]) -> str:
    """Return a fragment of several parts, each below the one before."""
    inside = "".join(f'<div style="{_OWN};margin:0 0 .6em">{part}</div>' for part in parts)
    return f'<div style="{_OWN}">{inside}</div>'


def note(text: str) -> str:
    """Return a quiet line."""
    return f'<span style="{_QUIET}">{escaped(text)}</span>'


def words(text: str) -> str:
    """Return a text as it stands, with its line breaks."""
    return f'<div style="{_OWN};white-space:break-spaces;overflow-wrap:anywhere">{escaped(text)}</div>'


def sequence_html(
    tokens: Sequence[int], logprobs: Sequence[float] | None, rows: Sequence[Sequence[tuple[int, float]] | None] | None,
    stop_reason: str, spell: Callable[[int], str] | None = None,
) -> str:  # fmt: skip
    """Return a sequence: each token coloured by its log-probability, with the likeliest others where it is pointed at.

    *spell* gives the text of a token; without it tokens are shown by their ids.
    """
    says = [count(len(tokens), "token"), *likelihood(logprobs), stop_reason]
    shown = tokens[:_MOST_TOKENS]
    spans = [
        _token(token, logprobs[place] if logprobs else math.nan, (rows[place] if rows else None) or (), spell)
        for place, token in enumerate(shown)
    ]
    between, style = ("", f"{_MONO};white-space:break-spaces") if spell else (" ", _MONO)
    more = [note(f"… {len(tokens) - len(shown):,} more")] if len(shown) < len(tokens) else []
    return block([note(" · ".join(says)), f'<div style="{style}">{between.join([*spans, *more])}</div>'])


def likelihood(logprobs: Sequence[float | None] | None) -> list[str]:
    """Say the sum of log-probabilities and their mean; nothing without any."""
    if not logprobs:
        return []
    total = math.fsum(math.nan if each is None else each for each in logprobs)
    if math.isnan(total):
        return ["log-probability not known"]
    return [f"log-probability {_minus(total)}", f"{_minus(total / len(logprobs))} a token"]


def count(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def escaped(text: str) -> str:
    """Return a text in which nothing is markup."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;")):
        text = text.replace(character, entity)
    return text


def _token(token: int, logprob: float, others: Sequence[tuple[int, float]], spell: Callable[[int], str] | None) -> str:
    lines = [] if math.isnan(logprob) else [f"{_percent(logprob)}, log-probability {_minus(logprob)}"]
    lines += [f"token {token}"] if spell or not lines else []
    lines += ["instead:"] if others else []
    named = (lambda other: repr(spell(other))) if spell else str
    lines += [f"{named(other)}: {_percent(score)}" for other, score in others[:_MOST_ALTERNATIVES]]
    shade = 0.0 if math.isnan(logprob) else next((s for p, s in _SHADES if math.exp(logprob) > p), _DARKEST)
    text = escaped(spell(token)) if spell else token
    style = f"{_BOX} {0 if spell else 3}px" + (f";background:rgba(213,94,0,{shade})" if shade else "")
    return f'<span style="{style}" title="{"&#10;".join(map(escaped, lines))}">{text}</span>'


def _percent(logprob: float) -> str:
    return f"{100 * math.exp(min(logprob, 0.0)):.3g} %"


def _minus(number: float) -> str:
    return f"{number:.3f}".replace("inf", "∞").replace("-", "\N{MINUS SIGN}")
