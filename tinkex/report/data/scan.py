"""Statistics of a batch, gathered in one pass over its output."""

from __future__ import annotations

import heapq
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from tinkex.report.data.drawing import IdSample, Picked
from tinkex.report.data.histogram import Histogram
from tinkex.report.data.row import PHASES, ReportFailure, ReportRow, log_probability, read_row
from tinkex.report.data.timeline import Timeline
from tinkex.report.data.where import RowFilter

_KINDS: Final = 200  # of errors, of models, of reasons to stop: what comes later is counted together
_OTHER: Final = "others"
_VARIABLE: Final = re.compile(r"[0-9a-f]{8}[0-9a-f-]*|\d+(\.\d+)?", re.IGNORECASE)
_EXTREMES: Final = 2
_FEW: Final = 8  # rows: of fewer, two are hardly remarkable


@attrs.define
class ErrorKind:
    """Errors that differ in numbers and ids only, with the first as the example."""

    example: ReportFailure
    row: str
    count: int = 0


@attrs.define
class ModelUse:
    """Counts and distributions of one model."""

    name: str
    rows: int = 0
    failed: int = 0
    tokens: int = 0
    latency: Histogram = attrs.Factory(Histogram)
    perplexity: Histogram = attrs.Factory(Histogram)
    judged: int = 0
    correct: int = 0


class Scan:
    """Streaming statistics of a batch's rows; not thread-safe.

    Memory does not grow with the number of rows: distributions are histograms, and the rows to show are few.
    """

    def __init__(self, samples: int = 12, where: RowFilter | None = None) -> None:
        self.where: RowFilter = RowFilter({}) if where is None else where
        self.left_out: int = 0
        """Rows that the filter does not admit."""
        self.rows: int = 0
        self.failed: int = 0
        self.unreadable: int = 0
        self.retried: int = 0
        self.prompt_tokens: int = 0
        self.sampled_tokens: int = 0
        self.endings: Counter[str] = Counter()
        self.errors: dict[str, ErrorKind] = {}
        self.models: dict[str, ModelUse] = {}
        self.timeline: Timeline = Timeline()
        self.latency: Histogram = Histogram()
        self.phases: dict[str, Histogram] = {name: Histogram() for name in PHASES}
        self.prompt_lengths: Histogram = Histogram()
        self.sampled_lengths: Histogram = Histogram()
        self.perplexity: Histogram = Histogram()
        self.impossible: int = 0
        """Texts with a token of probability zero: their perplexity is infinite."""
        self.unknown: int = 0
        """Texts with a log-probability that the server did not tell: they count in no perplexity."""
        self.judged: int = 0
        self.correct: int = 0
        self.correct_by_mean: int = 0
        self._random = random.Random(0)  # the same file gives the same page
        self._drawn = IdSample(samples)
        self._failed_beside = IdSample(4 * samples)
        self._failures: list[Picked] = []
        self._extremes: dict[str, list[tuple[float, int, bytes]]] = {}

    def read(self, lines: Iterable[bytes]) -> None:
        """Add every line; what is no row is counted as unreadable."""
        for line in lines:
            if line.isspace():
                continue
            try:
                row = read_row(line)
            except ValueError:
                self.unreadable += 1
                continue
            if self.where.admits(row):
                self.add(row, line)
            else:
                self.left_out += 1

    def add(self, row: ReportRow, line: bytes) -> None:
        """Add one row, and the line it was read from."""
        self.rows += 1
        self.retried += row.attempts > 1
        self.prompt_tokens += row.prompt_length or 0
        self.sampled_tokens += row.sampled_length
        name = row.model if row.model in self.models or len(self.models) < _KINDS else _OTHER
        model = self.models.setdefault(name, ModelUse(name))
        model.rows += 1
        model.tokens += row.sampled_length
        if row.began is not None and row.ended is not None:
            failed = row.failure is not None
            self.timeline.add(row.began, row.ended, failed=failed, tokens=row.length)
        if row.failure is not None:
            model.failed += 1
            self._add_failure(row, row.failure, line)
        else:
            self._add_success(row, model, line)

    def _add_failure(self, row: ReportRow, failure: ReportFailure, line: bytes) -> None:
        self.failed += 1
        key = f"{failure.kind} {failure.status} {_VARIABLE.sub('#', failure.message[:500])}"
        if key not in self.errors and len(self.errors) >= _KINDS:
            key, failure = _OTHER, ReportFailure(_OTHER, "")
        self.errors.setdefault(key, ErrorKind(failure, row.id)).count += 1
        picked = Picked(self.rows, line)
        _draw(self._failures, picked, self.failed, _EXTREMES, self._random)
        self._failed_beside.add(row.id, row.model, picked)

    def _add_success(self, row: ReportRow, model: ModelUse, line: bytes) -> None:
        if row.seconds is not None:
            self.latency.add(row.seconds)
            model.latency.add(row.seconds)
            self._consider("slowest", row.seconds, line)
        for name, seconds in row.timing.items():
            self.phases[name].add(seconds)
        if row.prompt_length is not None:
            self.prompt_lengths.add(row.prompt_length)
        for sequence in row.sequences:
            self.sampled_lengths.add(sequence.length or (row.sampled_length if len(row.sequences) == 1 else 0))
            ending = sequence.stop_reason or "unknown"
            self.endings[ending if ending in self.endings or len(self.endings) < _KINDS else _OTHER] += 1
        perplexities = [self._add_scored(logprobs, model) for logprobs in row.scored]
        if known := [perplexity for perplexity in perplexities if perplexity is not None]:
            self._consider("least likely", max(known), line)
        if row.answer is not None and row.correct is not None:
            for counts in (self, model):
                counts.judged += 1
                counts.correct += row.correct
            self.correct_by_mean += bool(row.correct_by_mean)
        if row.length:
            self._consider("longest", row.length, line)
        self._drawn.add(row.id, row.model, Picked(self.rows, line))

    def _add_scored(self, logprobs: Sequence[float | None], model: ModelUse) -> float | None:
        """Count a text, and return its perplexity if it is known."""
        total = log_probability(logprobs)
        if total is None:
            self.unknown += 1
            return None
        self.impossible += total == -math.inf
        mean = total / len(logprobs)
        perplexity = math.exp(min(-mean, 100.0)) if mean > -math.inf else math.inf
        self.perplexity.add(perplexity)
        model.perplexity.add(perplexity)
        return perplexity

    def _consider(self, reason: str, value: float, line: bytes) -> None:
        kept = self._extremes.setdefault(reason, [])
        if len(kept) < _EXTREMES:
            heapq.heappush(kept, (value, -self.rows, line))
        elif value > kept[0][0]:
            heapq.heapreplace(kept, (value, -self.rows, line))

    def picked(self) -> list[Picked]:
        """Return the rows to show, each once and in order: random ones, extremes, and failures.

        A drawn row comes with those that other models gave for its id.
        """
        drawn = [one for rows in self._drawn.rows.values() for one in rows.values()]
        if len(self.models) > 1:
            beside = [self._failed_beside.rows.get(key, {}) for key in self._drawn.rows]
            drawn += [one for rows in beside for one in rows.values()]
        lines = {one.number: one.line for one in (*drawn, *self._failures)}
        remarks: dict[int, list[str]] = {}
        for remark, kept in self._extremes.items():
            for _, number, line in kept:
                lines[-number] = line
                if self.rows >= _FEW:
                    remarks.setdefault(-number, []).append(remark)
        return [Picked(number, lines[number], tuple(remarks.get(number, ()))) for number in sorted(lines)]


def _draw(drawn: list[Picked], one: Picked, so_far: int, most: int, source: random.Random) -> None:
    """Update a reservoir sample of at most so many rows."""
    if len(drawn) < most:
        drawn.append(one)
    elif (place := source.randrange(so_far)) < most:
        drawn[place] = one
