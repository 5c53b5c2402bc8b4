"""Lenient parsing of output lines for the report: both formats, and damaged or foreign values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from tinkex._wire.json_bytes import decode_json
from tinkex.report.tokens import Alternatives, Token

PHASES: Final = ("queued", "submit", "wait", "fetch")
"""The parts of a row's time, in the order in which they pass."""

_LONGEST_NAME: Final = 200
_ABSURD: Final = 1e12  # neither seconds since 1970 nor tokens reach it
_MINUS_INFINITY: Final = -9999.0  # see `SampleResponse.to_dict`


@attrs.frozen
class ReportSequence:
    """A sampled sequence or a scored choice of a row: `tokens` where the format spells them, else `ids`.

    A log-probability is None where the server did not tell it.
    """

    text: str
    ids: Sequence[int]
    logprobs: Sequence[float | None] | None
    stop_reason: str
    alternatives: Sequence[Alternatives] | None = None
    tokens: Sequence[Token] = ()

    @property
    def length(self) -> int:
        """Number of tokens, 0 where they were left out."""
        return len(self.ids) or len(self.tokens)


@attrs.frozen
class ReportFailure:
    """The error of a row that failed."""

    kind: str
    message: str
    status: int | None = None


@attrs.frozen
class ReportRow:
    """One row of the output. None: the row does not tell it; times are seconds since 1970, durations seconds."""

    id: str
    model: str
    failure: ReportFailure | None
    sequences: Sequence[ReportSequence]
    began: float | None
    ended: float | None
    timing: Mapping[str, float]
    attempts: int
    prompt_length: int | None
    sampled_length: int
    prompt_ids: Sequence[int] = ()
    prompt_logprobs: Sequence[float | None] | None = None
    prompt_alternatives: Sequence[Alternatives] | None = None
    prompt_undefined: int = 1
    """How many tokens of the prompt have no log-probability by nature: the first, and those that were not asked for."""
    choices: Sequence[ReportSequence] = ()
    best: int | None = None
    answer: int | None = None
    best_by_mean: int | None = None
    correct: bool | None = None
    correct_by_mean: bool | None = None
    prompt_text: str = ""
    """The prompt as the caller gave it, a conversation as lines; empty for token ids."""
    columns: Mapping[str, Any] = attrs.Factory(dict)
    """The caller's own columns."""

    @property
    def only_scores(self) -> bool:
        """Whether nothing was sampled but the one token that a server wants to sample when it scores."""
        return self.failure is None and not self.sequences and (bool(self.choices) or self.prompt_logprobs is not None)

    @property
    def length(self) -> int:
        """Number of tokens sampled, of a row that was only scored of those read; 0 where it is not told."""
        return (self.prompt_length or 0) if self.only_scores else self.sampled_length

    @property
    def scored(self) -> Sequence[Sequence[float | None]]:
        """The log-probabilities of each text that has them: of the sequences, or of a prompt that was only scored."""
        if self.only_scores and not self.choices and self.prompt_logprobs is not None:
            found = [self.prompt_logprobs[self.prompt_undefined :]]
        else:
            found = [sequence.logprobs for sequence in self.sequences if sequence.logprobs is not None]
        return [logprobs for logprobs in found if logprobs]

    @property
    def seconds(self) -> float | None:
        """Latency: from the row's beginning to its end."""
        return None if self.began is None or self.ended is None else max(0.0, self.ended - self.began)


def read_row(line: bytes) -> ReportRow:
    """Parse one line; ValueError for one that is no row: torn, or not of a batch's output."""
    fields = decode_json(line)
    if not isinstance(fields, dict) or fields.get("status") not in {"ok", "error"}:
        raise ValueError("not a row of a batch's output")
    body = _mapping(_mapping(fields.get("response")).get("body"))
    sequences = [_choice(_mapping(one)) for one in _list(body.get("choices"))] if body else None
    if sequences is None:
        sequences = [_sequence(_mapping(one)) for one in _list(fields.get("sequences"))]
    usage = _mapping(fields.get("usage") or body.get("usage"))
    prompt_ids = _ids(fields.get("prompt_tokens"))
    prompt_length = _number(usage.get("prompt_tokens"))
    sampled_length = _number(usage.get("sampled_tokens", usage.get("completion_tokens")))
    timing = _mapping(fields.get("timing"))
    prompt_logprobs = _logprobs(fields.get("prompt_logprobs", body.get("prompt_logprobs")))
    last_n = _mapping(fields.get("parameters")).get("prompt_logprobs_last_n")
    row = ReportRow(
        id=_name(fields.get("custom_id", fields.get("id"))),
        model=_name(fields.get("model")),
        failure=_failure(_mapping(fields.get("error"))) if fields["status"] == "error" else None,
        sequences=sequences,
        began=_number(fields.get("started_at")),
        ended=_number(fields.get("finished_at")),
        timing={name: seconds for name in PHASES if (seconds := _number(timing.get(name))) is not None},
        attempts=int(_number(fields.get("attempts")) or 1),
        prompt_length=int(prompt_length) if prompt_length is not None else len(prompt_ids) or None,
        sampled_length=int(sampled_length) if sampled_length is not None else sum(one.length for one in sequences),
        prompt_ids=prompt_ids,
        prompt_logprobs=prompt_logprobs,
        prompt_alternatives=_alternatives(fields.get("topk_prompt_logprobs")),
        prompt_undefined=max(1, len(prompt_logprobs or ()) - last_n) if type(last_n) is int else 1,
        choices=[_sequence(_mapping(one)) for one in _list(fields.get("choices"))],
        best=_index(fields.get("best")),
        best_by_mean=_index(fields.get("best_by_mean")),
        answer=_index(fields.get("answer")),
        correct=_flag(fields.get("correct")),
        correct_by_mean=_flag(fields.get("correct_by_mean")),
        prompt_text=_text_or_empty(fields.get("prompt")) or _conversation(_list(fields.get("messages"))),
        columns=_mapping(fields.get("extra")),
    )
    return attrs.evolve(row, sampled_length=0) if row.only_scores else row


def log_probability(logprobs: Sequence[float | None] | None) -> float | None:
    """Sum the log-probabilities of a text; None where that of a token is not known."""
    known = [logprob for logprob in logprobs or () if logprob is not None]
    return sum(known) if logprobs and len(known) == len(logprobs) else None


def _sequence(fields: Mapping[str, Any]) -> ReportSequence:
    return ReportSequence(
        _text_or_empty(fields.get("text")),
        _ids(fields.get("tokens")),
        _logprobs(fields.get("logprobs")),
        _name(fields.get("stop_reason")),
        _alternatives(fields.get("topk_logprobs")),
    )


def _choice(fields: Mapping[str, Any]) -> ReportSequence:
    """Parse a choice of a chat or of a text completion, which spell their tokens."""
    told = _mapping(fields.get("logprobs"))
    tokens = [_spelled(_mapping(one)) for one in _list(told.get("content"))]
    pairs = zip(_list(told.get("tokens")), _list(told.get("token_logprobs")), strict=False)
    tokens += [Token(_text_or_empty(text), (), _logprob(logprob)) for text, logprob in pairs]
    text = _text_or_empty(fields.get("text") or _mapping(fields.get("message")).get("content"))
    logprobs = [token.logprob for token in tokens] or None
    return ReportSequence(text, (), logprobs, _name(fields.get("finish_reason")), tokens=tokens)


def _spelled(fields: Mapping[str, Any]) -> Token:
    others = [_mapping(other) for other in _list(fields.get("top_logprobs"))]
    known = [(_text_or_empty(other.get("token")), _logprob(other.get("logprob"))) for other in others]
    alternatives = tuple((text, logprob) for text, logprob in known if logprob is not None)
    return Token(_text_or_empty(fields.get("token")), (), _logprob(fields.get("logprob")), alternatives)


def _failure(fields: Mapping[str, Any]) -> ReportFailure:
    status = _number(fields.get("status"))
    return ReportFailure(
        _name(fields.get("type") or fields.get("code") or "unknown"),
        _text_or_empty(fields.get("message")),
        None if status is None else int(status),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


def _conversation(messages: list[Any]) -> str:
    """Return messages as lines; parts that are no text are left out."""
    lines = []
    for message in map(_mapping, messages):
        content = message.get("content")
        parts = [_text_or_empty(_mapping(part).get("text")) for part in _list(content)]
        lines.append(f"{_name(message.get('role'))}: {_text_or_empty(content) or ' '.join(parts)}")
    return "\n".join(lines)


def _name(value: object) -> str:
    return "" if value is None else str(value)[:_LONGEST_NAME]


def _number(value: object) -> float | None:
    """Return a plausible number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _ABSURD else None


def _index(value: object) -> int | None:
    return value if type(value) is int else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _ids(value: object) -> list[int]:
    ids = _list(value)
    return ids if all(type(token) is int and token >= 0 for token in ids) else []


def _logprobs(value: object) -> list[float | None] | None:
    return [_logprob(one) for one in value] if isinstance(value, list) and value else None


def _logprob(value: object) -> float | None:
    return -math.inf if value == _MINUS_INFINITY else _number(value)


def _alternatives(value: object) -> list[Alternatives] | None:
    """Parse the top-k alternatives of each position; what is no pair of a token and a number is left out."""
    places = [[pair for pair in _list(place) if isinstance(pair, list) and len(pair) == 2] for place in _list(value)]
    return [
        [(token, logprob) for token, known in place if type(token) is int and (logprob := _logprob(known)) is not None]
        for place in places
    ] or None
