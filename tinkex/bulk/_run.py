"""`run`: a batch from its input rows to its output file."""

from __future__ import annotations

import math
import os
import pathlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, BinaryIO, Final, Protocol

import attrs

from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock
from tinkex._validation.arguments import check_count, check_seconds, check_timeout
from tinkex.bulk._canary import Canaries
from tinkex.bulk._engine import Batch, FlowState, perform
from tinkex.bulk._input import fields
from tinkex.bulk._input.parquet_file import parquet_library
from tinkex.bulk._input.prepare import check_parameters
from tinkex.bulk._input.read import Rows, Source
from tinkex.bulk._input.task import PARAMETERS, Task
from tinkex.bulk._limits import Limits
from tinkex.bulk._models import Models
from tinkex.bulk._output.json_lines import encode_row
from tinkex.bulk._output.ledger import Ledger
from tinkex.bulk._output.locked_file import OutputError
from tinkex.bulk._output.openai_format import FORMS
from tinkex.bulk._output.record import OMITTABLE
from tinkex.bulk._output.stream import Stream
from tinkex.bulk._output.table import write_table
from tinkex.bulk._plan import TaskPlan
from tinkex.bulk._prices import Prices
from tinkex.bulk._progress import Progress, Summary, Tally
from tinkex.bulk._results.read import TABLES, rows_file
from tinkex.sampling_client import SamplingClient
from tinkex.types import SampleRequest

CHANGED: Final = ("stop", "redo", "keep")
_NOT_WRITTEN: Final = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tsv", ".tab", ".pq", ".arrow", ".feather", ".xlsx")
_TELL_SECONDS: Final = 0.2
_LONG_SECONDS: Final = 5.0


class Engine(Protocol):
    """Interface of an execution engine, which samples tasks: `perform` does it in this process."""

    def __call__(
        self, tasks: Iterator[Task], models: Models, limits: Limits, *, halt: threading.Event, omit: Collection[str],
        timeout: float | None, tell: Callable[[FlowState], None],
    ) -> Iterator[Batch]:  # fmt: skip
        """Yield every task with its record, once, in lists and in any order.

        Reads `tasks` from one thread, and none after `halt` is set; a list may be empty, so that time is seen to pass.
        """


def run(
    rows: Rows,
    output: str | os.PathLike[str] | BinaryIO,
    models: Models | SamplingClient | Mapping[str, SamplingClient],
    *,
    tokenizer: object = None,
    limits: Limits | None = None,
    changed: str = "stop",
    max_failures: int | None = None,
    input_format: str | None = None,
    form: str | None = None,
    omit: Collection[str] = (),
    in_order: bool = True,
    escape_formulas: bool = False,
    timeout: float | None = None,
    prices: Prices | None = None,
    sync_seconds: float = 1.0,
    canary: bool = True,
    halt: threading.Event | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    engine: Engine = perform,
    **parameters: Any,
) -> Summary:
    """Sample every row of a file and append each result to another as it comes; what is there already is not repeated.

    A row that cannot be sampled becomes an error row. Rows that failed in an earlier run are tried again.

    Args:
        rows: A path, "-" for standard input, an iterable of mappings, or a table of pandas, polars or Arrow.
        output: A path, which a later run goes on with; or a binary file, to which rows are written as they come. For
            a path that ends with .csv or .parquet, rows go to the same with .jsonl behind it, and become a table at the
            end.
        models: One client, several by name (every row goes to each), or `Models`.
        tokenizer: A name, a path or an object; None for each model's own.
        limits: How fast; None for `Limits()`.
        changed: What to do when the output has a row made with other parameters: "stop" with ChangedError,
            "redo" it, or "keep" it.
        max_failures: Stop when more rows than this have failed; None for never.
        input_format: "jsonl", "csv", "tsv" or "parquet"; None goes by the name.
        form: Of the output: "native" or "openai"; None for what each row was in.
        omit: What to leave out of the output: "text", "tokens", "logprobs", "prompt" (its text or messages),
            "prompt_tokens".
        in_order: Bring the output into the order of the input at the end; False leaves it in the order of the ends.
        escape_formulas: In a .csv output, put an apostrophe before text that a spreadsheet would compute.
        timeout: Seconds for each sample; None as configured.
        prices: For the cost; None for none.
        sync_seconds: How long a finished row may be where a power cut, and nothing else, takes it.
        canary: Keep the log-probabilities of three short prompts under each model in a file beside the output, and say
            in the summary's notes where a later run that goes on with this output meets other weights. Only where
            `engine` is this process.
        halt: Set it, from any thread, to have no more rows begun; those in flight end.
        on_progress: Called with a `Progress` at most five times a second, and at the end.
        engine: What samples the tasks; by default this process.
        **parameters: For rows that bring none: those of `SamplingParams`, `num_samples`, `include_prompt_logprobs`,
            `topk_prompt_logprobs`, `topk_sample_logprobs`, `prompt_logprobs_last_n`, `tools`, `template_variables`
            (further keywords of `ModelInput.from_messages`), `score`: only the prompt's log-probabilities, and
            `best_of`: sample so many answers and keep the best `num_samples`, by `best_of_by` ("mean_logprob", the
            default, or "logprob").

    Raises:
        TypeError, ValueError: An argument is wrong.
        OutputError: The output cannot be used: another process writes it, it is something else, the disk is full.
        ChangedError: See `changed`.
        InputError: The input is not of its format, or not one of its rows can be sampled: nothing was.
        OSError: The input cannot be read.

    Ctrl-C cancels what is in flight and keeps what is written; the same call again goes on.
    """
    _check(parameters, changed, omit, form, (max_failures, timeout, sync_seconds))
    table = _table_of(output, form, rows)
    if table is not None:
        output, form = rows_file(table), "native"
    job = _Run(
        source=Source(rows, input_format), models=Models.of(models, tokenizer), limits=limits or Limits(),
        tally=Tally(prices), halt=halt or threading.Event(), form=form, max_failures=max_failures,
        on_progress=on_progress,
    )  # fmt: skip
    here = job.models if engine is perform else None  # the actors of others may have what this process lacks
    plan = TaskPlan(job.source, job.models.names, fields.parameters(parameters), changed, job.tally, here)
    if job.source.is_at_hand:  # else it is found out when the first rows have come
        plan.refuse_hopeless()
    sink = _open_output(output, sync_seconds)
    try:  # rather than `with`, which calls `__enter__` first: Ctrl-C may come there
        batches = engine(
            plan.tasks(sink), job.models, job.limits, halt=job.halt, omit=omit, timeout=timeout, tell=job.hear
        )
        job.drain(batches, sink, plan, canary=canary and engine is perform)
        if not job.halt.is_set():
            if in_order:
                job.put_in_order(sink)
            if table is not None:
                write_table(table, escape_formulas=escape_formulas)
        return job.summary(sink)
    finally:
        sink.close()


def _open_output(output: str | os.PathLike[str] | BinaryIO, sync_seconds: float) -> Ledger | Stream:
    """Open the output: a `Ledger` for a regular file, a `Stream` for other writable objects, such as a named pipe."""
    if not isinstance(output, str | os.PathLike):
        return Stream(output)
    path = pathlib.Path(output)
    if path.is_dir():
        raise OutputError(f"{path} cannot be used as output: it is a folder.")
    if path.exists() and not path.is_file():
        return Stream(path.open("wb", buffering=0), owned=True)
    return Ledger(path, sync_seconds)


def _table_of(output: str | os.PathLike[str] | BinaryIO, form: str | None, rows: Rows) -> pathlib.Path | None:
    """Return the path of the table to make at the end; None for JSON lines. What cannot be the output is refused."""
    path = pathlib.Path(output) if isinstance(output, str | os.PathLike) else pathlib.Path()
    source = pathlib.Path(rows) if isinstance(rows, str | os.PathLike) else None
    for written in (path, rows_file(path)) if path.suffix in TABLES else (path,):
        if source is not None and source.exists() and written.is_file() and written.samefile(source):
            raise ValueError(f"output: {written} is the input; give another path")
    if path.suffix not in TABLES:
        if path.suffix.lower() in {*TABLES, *_NOT_WRITTEN}:
            raise ValueError(
                f"output: {path.name} would hold JSON lines, in spite of its name. Give one that ends with .jsonl, or,"
                f" for a table, with {' or '.join(TABLES)}."
            )
        return None
    if form == "openai":
        raise ValueError(f"form must be native for an output like {path.name}")
    if path.suffix == ".parquet":
        parquet_library()  # to find out now, not at the end
    return path


def _check(
    parameters: Mapping[str, Any], changed: str, omit: Collection[str], form: str | None, numbers: tuple[object, ...]
) -> None:
    _check_numbers(*numbers)
    for name, value in parameters.items():
        if name not in PARAMETERS:
            raise TypeError(
                f"run() got an unexpected argument {name!r}; parameters are {', '.join(sorted(PARAMETERS))}"
            )
        if isinstance(value, float) and math.isnan(value):  # in a cell of a table it says that nothing is given
            raise ValueError(f"{name} must be a number, not nan")
    for name, value, known in (
        ("changed", {changed}, CHANGED), ("omit", set(omit), OMITTABLE), ("form", {form} - {None}, FORMS),
    ):  # fmt: skip
        if not value <= set(known):
            raise ValueError(f"{name} must be of {', '.join(known)}, not {', '.join(map(repr, value - set(known)))}")
    # rows may bring their own; what is wrong here is wrong for all others
    wanted = check_parameters({"max_tokens": 1, **fields.parameters(parameters)})
    SampleRequest([0] * 2**16, wanted.params, **wanted.options)


def _check_numbers(max_failures: object, timeout: object, sync_seconds: object) -> None:
    if max_failures is not None:
        check_count("max_failures", max_failures, 0)
    if timeout is not None:
        check_timeout(timeout)
    check_seconds("sync_seconds", sync_seconds, zero=True)


@attrs.define(kw_only=True)
class _Run:
    """State of a run in progress: what has ended, and what to report of it."""

    source: Source
    models: Models
    limits: Limits
    tally: Tally
    halt: threading.Event
    form: str | None
    max_failures: int | None
    on_progress: Callable[[Progress], object] | None
    clock: Clock = SYSTEM_CLOCK
    began: float = attrs.field(factory=SYSTEM_CLOCK.monotonic)
    notes: list[str] = attrs.field(factory=list)
    canaries: Canaries | None = None
    _flow: FlowState = attrs.field(factory=FlowState)
    _told_at: float = float("-inf")
    _first: tuple[float, float] | None = None  # when the first row ended, and the fraction then

    def hear(self, state: FlowState) -> None:
        """Keep the state of the engine for the next progress report."""
        self._flow = state

    def drain(self, batches: Iterator[Batch], sink: Ledger | Stream, plan: TaskPlan, *, canary: bool) -> None:
        """Write and count finished tasks until the engine has no more."""
        if canary and isinstance(sink, Ledger):
            self.canaries = Canaries(sink.path, resumed=not sink.is_empty)
        try:
            for batch in batches:
                if batch:
                    self._write(batch, sink)
                del batch  # not kept while the next one is made: see `Flow`
                self._look_at_canaries()
                self._tell(plan)
        finally:  # cancels what is in flight now, not when a traceback that is kept lets go of the generator
            getattr(batches, "close", lambda: None)()
        if self.canaries is not None and self.tally.done and not self.halt.is_set():
            self.canaries.finish(self.models.clients())
        self._told_at = float("-inf")
        self._tell(plan)

    def _write(self, batch: Batch, sink: Ledger | Stream) -> None:
        rows = [(task, *encode_row(task, record, self.form, self.models)) for task, record in batch]
        sink.append([(task.index, line) for task, _, line in rows])
        for task, record, _ in rows:
            self.tally.add(task, record)
        if self.max_failures is not None and self.tally.failed > self.max_failures and not self.halt.is_set():
            self.notes.append(f"stopped because more than {self.max_failures} rows failed (max_failures)")
            self.halt.set()

    def _look_at_canaries(self) -> None:
        """Compare weights as soon as rows are sampled; numbers that are new can wait until the run has proved long."""
        if self.canaries is not None and (self._flow.in_flight or self.tally.done):
            self.canaries.ask(self.models.clients(), new=self.clock.monotonic() - self.began > _LONG_SECONDS)
            self.canaries.collect()

    def put_in_order(self, sink: Ledger | Stream) -> None:
        """Sort the output by input row; a lack of room is noted and loses no result."""
        try:
            sink.put_in_order()
        except OutputError as error:
            self.notes.append(f"the rows are in the order of their ends: {error.message}")

    def summary(self, sink: Ledger | Stream) -> Summary:
        """Return the counts, tokens, cost and errors of the run."""
        tally = self.tally
        return Summary(
            done=tally.done, failed=tally.failed, skipped=tally.skipped, kept=tally.kept,
            interrupted=self.halt.is_set(), seconds=self.clock.monotonic() - self.began,
            prompt_tokens=tally.prompt_tokens, sampled_tokens=tally.sampled_tokens,
            cost=tally.bill.cost, unpriced=tally.bill.unpriced, errors=tally.commonest(),
            notes=(*sink.notes, *self.notes, *(self.canaries.notes if self.canaries is not None else ())),
            accuracy=tally.accuracy if tally.accuracy.rows + tally.accuracy.undecided else None,
        )  # fmt: skip

    def _tell(self, plan: TaskPlan) -> None:
        now = self.clock.monotonic()
        if self.on_progress is None or now - self._told_at < _TELL_SECONDS:
            return
        self._told_at = now
        tally, stats = self.tally, [client.stats() for client in self.models.clients().values()]
        ended = tally.done + tally.failed + tally.skipped
        read = self.source.fraction
        fraction = None if read is None or not plan.claimed else read * min(1.0, ended / plan.claimed)
        paused = max(stats, key=lambda each: each.paused_for, default=None)
        self.on_progress(Progress(
            done=tally.done, failed=tally.failed, skipped=tally.skipped, fraction=fraction, seconds=now - self.began,
            remaining=self._remaining(now, fraction), prompt_tokens=tally.prompt_tokens,
            sampled_tokens=tally.sampled_tokens, cost=tally.bill.cost, unpriced=tally.bill.unpriced, flow=self._flow,
            retrying=max((each.retrying for each in stats), default=0),
            paused_for=paused.paused_for if paused else 0.0, paused_reason=paused.paused_reason if paused else None,
        ))  # fmt: skip

    def _remaining(self, now: float, fraction: float | None) -> float | None:
        if fraction is None or not self.tally.done + self.tally.failed:
            return None
        if self._first is None:
            self._first = (now, fraction)
        since, at_first = self._first
        return (now - since) * (1 - fraction) / (fraction - at_first) if fraction > at_first else None
