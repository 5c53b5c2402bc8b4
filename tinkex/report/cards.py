"""Cards of the batch report: rows in full, those of several models to one prompt side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import attrs

from tinkex.report._shown import shortened
from tinkex.report.data.drawing import Picked
from tinkex.report.data.row import ReportFailure, ReportRow, ReportSequence, log_probability, read_row
from tinkex.report.data.where import value_text
from tinkex.report.spelling import duration
from tinkex.report.tokens import Decode, Token, minus, read_tokens

_TOKENS: Final = 400  # of a prompt or a sequence
_CHARACTERS: Final = 3000
_SEQUENCES: Final = 4
_CHOICES: Final = 12
_COLUMNS: Final = 12
_LONGEST_VALUE: Final = 120
_BY_SUM: Final = "likeliest"
_BY_MEAN: Final = "likeliest per token"


@attrs.frozen
class Part:
    """A prompt or a sequence on a card: coloured tokens where they are known, else its text."""

    says: str
    tokens: Sequence[Token]
    text: str
    more: int
    prompt: bool = False
    marks: Sequence[str] = ()
    """Which of several it is: the likeliest, by the sum or by the mean of log-probabilities, or the right one."""


@attrs.frozen
class RowView:
    """A row on a card."""

    model: str
    says: str
    remarks: Sequence[str]
    failure: ReportFailure | None
    parts: Sequence[Part]


@attrs.frozen
class Card:
    """The rows of one id, what they have in common first."""

    id: str
    rows: Sequence[RowView]
    columns: Sequence[tuple[str, str]]
    """The caller's own columns, by name."""
    prompt: Sequence[Part]
    """The prompt, where all rows have the same text."""
    several: bool
    """Whether the output has several models, so that each row names its own."""

    @property
    def coloured(self) -> bool:
        """Whether a token of it has a colour."""
        return any(token.shade is not None for row in self.rows for part in row.parts for token in part.tokens)


def cards_of(
    picked: Iterable[Picked], find_decoder: Callable[[str], Decode | None], *, several: bool = False
) -> list[Card]:
    """Return the cards of some rows, those of the same id on one, and such cards first.

    Args:
        picked: The rows.
        find_decoder: Returns the decoder of a model's name, which turns its token ids into text; None shows the ids.
        several: Whether the output has several models.
    """
    groups: dict[str, list[tuple[ReportRow, Picked]]] = {}
    for one in picked:
        row = read_row(one.line)
        groups.setdefault(row.id if several and row.id else f"{one.number}", []).append((row, one))
    cards = [_card(rows, find_decoder, several) for rows in groups.values()]
    return sorted(cards, key=lambda card: -len(card.rows))


def _card(
    rows: Sequence[tuple[ReportRow, Picked]], find_decoder: Callable[[str], Decode | None], several: bool
) -> Card:
    views = [_view(row, one.remarks, find_decoder(row.model)) for row, one in rows]
    prompts = [[part for part in view.parts if part.prompt and not part.tokens] for view in views]
    shared = next((prompt for prompt in prompts if prompt), [])
    if any(prompt and prompt != shared for prompt in prompts):
        shared = []
    elif shared:
        views = [attrs.evolve(view, parts=[part for part in view.parts if part not in shared]) for view in views]
    first = rows[0][0]
    columns = [
        (shortened(name, _LONGEST_VALUE), shortened(value_text(value), _LONGEST_VALUE))
        for name, value in itertools.islice(first.columns.items(), _COLUMNS)
        if first.answer is None or name not in ("answer", "label")  # the right choice is marked
    ]
    return Card(first.id, views, columns, shared, several)


def _view(row: ReportRow, remarks: Sequence[str], decode: Decode | None) -> RowView:
    try:
        parts = list(_parts(row, decode))
    except Exception:  # noqa: BLE001 - another model's tokenizer: the ids are not in its vocabulary
        parts = list(_parts(row, None))
    says = [_tokens(row.length)] if row.length else []
    says += [duration(row.seconds)] if row.seconds is not None else []
    says += [f"{row.attempts} attempts"] if row.attempts > 1 else []
    wrong = ["wrong"] if row.correct is False else []
    return RowView(row.model, " · ".join(says), [*wrong, *remarks], row.failure, parts)


def _parts(row: ReportRow, decode: Decode | None) -> Iterator[Part]:
    ids = row.prompt_ids
    if row.prompt_logprobs:
        tokens = read_tokens(ids[:_TOKENS], row.prompt_logprobs, decode, row.prompt_alternatives)
        says = "prompt" + _likelihood(row.prompt_logprobs[row.prompt_undefined :])
        yield Part(says, tokens, "", len(ids[_TOKENS:]), prompt=True)
    elif row.prompt_text or (ids and decode):
        text = row.prompt_text or (decode(ids) if decode else "")
        yield Part("prompt", (), shortened(text, _CHARACTERS), 0, prompt=True)
    best = _best(row.sequences)
    for number, one in enumerate(row.sequences[:_SEQUENCES]):
        says = f"sequence {number + 1} of {len(row.sequences)}" if len(row.sequences) > 1 else "answer"
        if one.stop_reason == "length":
            says += ", cut at max_tokens"
        yield from _sequence_parts(one, says, decode, [_BY_MEAN] if number == best else [])
    if best is not None and best >= _SEQUENCES:
        says = f"sequence {best + 1} of {len(row.sequences)}"
        yield from _sequence_parts(row.sequences[best], says, decode, [_BY_MEAN])
    for number, one in enumerate(row.choices[:_CHOICES]):
        says = f"choice {number + 1} of {len(row.choices)}"
        yield from _sequence_parts(one, says, decode, list(_marks(row, number)))


def _marks(row: ReportRow, choice: int) -> Iterator[str]:
    """Tell what a choice is; the likeliest by the mean only where it is not that by the sum."""
    if choice == row.best:
        yield _BY_SUM
    elif choice == row.best_by_mean:
        yield _BY_MEAN
    if choice == row.answer:
        yield "right"


def _best(sequences: Sequence[ReportSequence]) -> int | None:
    """Return which of several sequences is the likeliest by the mean of its tokens; None where nothing is known."""
    means = [
        (total / len(one.logprobs), -number)
        for number, one in enumerate(sequences)
        if one.logprobs and (total := log_probability(one.logprobs)) is not None and total > -math.inf
    ]
    return -max(means)[1] if means and len(sequences) > 1 else None


def _sequence_parts(one: ReportSequence, says: str, decode: Decode | None, marks: Sequence[str]) -> Iterator[Part]:
    says += _likelihood(one.logprobs)
    tokens = list(one.tokens[:_TOKENS])
    if one.logprobs and not tokens:
        tokens = read_tokens(one.ids[:_TOKENS], one.logprobs, decode, one.alternatives)
    if one.text and not (tokens and (decode or one.tokens)):  # numbers alone say little
        yield Part(says, (), shortened(one.text, _CHARACTERS), 0, marks=marks)
    if tokens:
        yield Part(says, tokens, "", max(0, one.length - _TOKENS), marks=marks)


def _likelihood(logprobs: Sequence[float | None] | None) -> str:
    """Say the log-probability of a text, and its mean where the text has several tokens."""
    total = log_probability(logprobs)
    if total is None or not logprobs:
        return ""
    mean = f", {minus(total / len(logprobs))} per token" if len(logprobs) > 1 and total > -math.inf else ""
    return f", log p {minus(total)}{mean}"


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"
