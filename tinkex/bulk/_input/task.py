"""Data types of the input: rows, and tasks, which are rows for one model."""

from __future__ import annotations

import array
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex.errors import TinkexError
from tinkex.types import ModelInput

RowId = str | int
Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]] | ModelInput | None

PARAMS: Final = ("max_tokens", "seed", "stop", "temperature", "top_k", "top_p")
OPTIONS: Final = (
    "num_samples", "include_prompt_logprobs", "topk_prompt_logprobs", "topk_sample_logprobs", "prompt_logprobs_last_n",
)  # fmt: skip
FOR_MESSAGES: Final = ("tools", "template_variables")
PARAMETERS: Final = frozenset({*PARAMS, *OPTIONS, "best_of", "best_of_by", "score", *FOR_MESSAGES})
"""What a row may set for itself: the arguments of `SamplingParams` and `sample()`, and some of this package's own."""


class InputError(TinkexError, ValueError):
    """The input is not what was said, or nothing in it can be sampled: the run ends before anything is."""


class InvalidRowError(TinkexError, ValueError):
    """A row of the input cannot be sampled as it is; the text says what is wrong with it."""


class LineId(str):
    """Id of a row that brings none: its line. Of a type of its own, so that it is never the id that a row brings."""

    __slots__ = ()


@with_field_docs
@attrs.frozen
class Row:
    """A row of the input, parsed, in one form for all input formats."""

    number: int
    """Its line, or its number where there are no lines, from 1."""
    id: RowId
    """What tells the row from others: as given, or its number."""
    prompt: Prompt = None
    """The prompt, as text, messages or tokens."""
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    """What it sets for itself."""
    model: str | None = None
    """The model it asks for; None for those of the run."""
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    """What else it holds; carried along."""
    shape: str = "native"
    """The form of the answer: "native", "chat" or "completion", the last two as OpenAI's batches have them."""
    problem: str | None = None
    """What is wrong with it; None if it can be tried."""
    choices: Sequence[str | Sequence[int]] = ()
    """Continuations of the prompt, text or token ids, to be scored; empty for a row to be sampled."""
    answer: int | None = None
    """The index of the right choice; None where the row does not tell it."""
    logprobs: bool = False
    """Whether a line of an OpenAI batch asks for the log-probabilities of what is sampled."""

    @property
    def messages(self) -> Sequence[Mapping[str, Any]] | None:
        """The prompt, where it is a conversation."""
        prompt = self.prompt
        if not prompt or isinstance(prompt, str | ModelInput) or type(prompt[0]) is int:
            return None
        if not isinstance(prompt[0], Mapping):
            return None
        return cast("Sequence[Mapping[str, Any]]", prompt)


@with_field_docs
@attrs.frozen
class Task:
    """One row for one model. It pickles, so that other processes can work on it."""

    index: int
    """Its place in the output, from 0."""
    row: Row
    model: str
    parameters: Mapping[str, Any]
    """What it is sampled with: the run's, and the row's on top."""
    fingerprint: str
    """What the prompt and the parameters are told from others by."""
    date: str | None = None
    """What chat templates that write today's date are given, as 2026-11-29: that of the run's first part; None for
    today. No part of the fingerprint."""


class Fingerprints:
    """Hashes rows and parameters: sixteen hexadecimal digits, others for other prompts, choices, answers or values."""

    def __init__(self) -> None:
        self._last: tuple[Mapping[str, Any] | None, bytes] = (None, b"")

    def of(self, row: Row, parameters: Mapping[str, Any]) -> str:
        """Return the fingerprint of a row sampled with these parameters."""
        if self._last[0] is not parameters:
            self._last = (parameters, _canonical(parameters))
        digest = hashlib.blake2b(self._last[1], digest_size=8)
        digest.update(_prompt_bytes(row.prompt))
        for choice in row.choices:
            part = _prompt_bytes(choice)
            digest.update(b"c%d:" % len(part) + part)
        if row.answer is not None:  # what is correct depends on it
            digest.update(b"a%d" % row.answer)
        return digest.hexdigest()


def _prompt_bytes(prompt: Prompt) -> bytes:
    if isinstance(prompt, str):
        return b"s" + prompt.encode("utf-8", "surrogatepass")
    if isinstance(prompt, ModelInput):
        try:
            return _prompt_bytes(prompt.to_ints())  # the same tokens are the same prompt, however they came
        except ValueError:  # pictures
            return b"m" + _canonical(attrs.asdict(prompt))
    try:
        return b"i" + array.array("q", prompt).tobytes()  # type: ignore[arg-type,type-var]  # messages raise
    except (TypeError, OverflowError):
        return b"j" + _canonical(prompt)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
