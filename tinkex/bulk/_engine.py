"""In-process execution engine: a feeder thread prepares and submits tasks, the caller's thread takes the results."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import attrs

from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock
from tinkex._sampling.stream import cancel_all, failed
from tinkex._validation.field_docs import with_field_docs
from tinkex.bulk._input.prepare import Prepared, Preparer
from tinkex.bulk._input.task import Task
from tinkex.bulk._limits import Gate, Limits
from tinkex.bulk._models import Models
from tinkex.bulk._output.choices import Best, scored_record
from tinkex.bulk._output.record import Record, made_record
from tinkex.errors import QueueFullError, SampleTimeoutError
from tinkex.future import SampleFuture
from tinkex.types import ModelInput, SampleResponse

Batch = list[tuple[Task, Record]]
_MOST_AT_ONCE: Final = 256
_MANY: Final = 16  # rows in flight: where they end one by one, waking up for each costs as much as the row
_GATHERING: Final = 0.02  # seconds that a result may wait for others
_TICK: Final = 0.1  # seconds between two looks at the flow when nothing ends


@with_field_docs
@attrs.frozen
class FlowState:
    """Concurrency of a run at one moment."""

    in_flight: int = 0
    """Samples that are sent and have not ended."""
    most_in_flight: int = 0
    """The present limit."""
    pace: str = "growing"
    """How that limit changes: "growing", "steady", "backing off" or "fixed"."""


@attrs.define
class _Sent:
    task: Task
    prepared: Prepared | None
    started_at: float


class _Scored:
    """The samples that score the choices of one row, as one result: it ends when the last of them has."""

    def __init__(self, futures: Sequence[SampleFuture[SampleResponse]]) -> None:
        self.futures = futures
        self._left = itertools.count(len(futures) - 1, -1)  # `next` is atomic
        self._ended: queue.SimpleQueue[Any] | None = None

    def _report_to(self, ended: queue.SimpleQueue[Any]) -> None:
        """Put this on `ended` when the last sample ends."""
        self._ended = ended
        for future in self.futures:
            future._report_to(self)  # type: ignore[arg-type]  # of a queue, `put` is used  # noqa: SLF001

    def put(self, future: Any) -> None:
        """Take note that one sample has ended."""
        if next(self._left) == 0 and self._ended is not None:
            self._ended.put(self)

    def cancel(self) -> None:
        """Cancel what has not ended."""
        cancel_all(self.futures)


@attrs.frozen
class _Fed:
    """End marker of the feeder: no more tasks will be submitted."""

    error: BaseException | None


_Ending = SampleFuture[SampleResponse] | _Scored
"""What ends when a row does."""


class Flow:
    """Samples tasks, a bounded number concurrently, and yields results in order of completion.

    A task that cannot be sampled ends as an error row. What reading the tasks raises is raised once the tasks before it
    have ended. When `halt` is set, no more tasks are begun. Leaving early cancels what is in flight.
    """

    def __init__(
        self, tasks: Iterable[Task], models: Models, limits: Limits, *, halt: threading.Event | None = None,
        omit: Collection[str] = (), timeout: float | None = None, tell: Callable[[FlowState], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:  # fmt: skip
        self._tasks = tasks
        self._omit = frozenset(omit)
        self._timeout = timeout
        self._tell = tell
        self._clock = clock
        self._halt = halt or threading.Event()
        self._gate = Gate(limits, clock, self._halt)
        self._preparer = Preparer(models)
        self._sent: dict[_Ending, _Sent] = {}  # the feeder adds, before the future is told to report
        self._ended: queue.SimpleQueue[_Ending | _Fed] = queue.SimpleQueue()

    def batches(self) -> Iterator[Batch]:
        """Yield finished tasks in lists: several where they end fast, none when a tenth of a second brought none."""
        fed: _Fed | None = None
        try:  # from here on, since Ctrl-C may come while the thread starts
            feed = partial(contextvars.copy_context().run, self._feed)  # what is traced and logged is the caller's
            threading.Thread(target=feed, name="tinkex-bulk", daemon=True).start()
            while (fed is None and not self._halt.is_set()) or self._sent:
                items = self._take()
                fed = next((item for item in items if isinstance(item, _Fed)), fed)
                ended = [item for item in reversed(items) if not isinstance(item, _Fed)]
                del items
                batch = self._end(ended)
                if self._tell is not None:
                    window = self._gate.window
                    self._tell(FlowState(self._gate.in_flight, window.limit, window.state))
                yield batch
                del batch
            if fed is not None and fed.error is not None:
                raise fed.error.with_traceback(None)
        finally:
            self._gate.close()
            for ending in list(self._sent):
                ending.cancel()

    def _take(self) -> list[_Ending | _Fed]:
        items: list[_Ending | _Fed] = []
        with contextlib.suppress(queue.Empty):
            items.append(self._ended.get(timeout=_TICK))
            if len(self._sent) > _MANY and self._ended.qsize() < _MANY:
                time.sleep(_GATHERING)
            while len(items) < _MOST_AT_ONCE:
                items.append(self._ended.get_nowait())
        return items

    def _end(self, futures: list[Any]) -> Batch:
        """Turn finished futures into records, the last first, and release their concurrency slots.

        None of them is kept: what lives longer than its row has the garbage collector run more often.
        """
        batch, unused, now = [], 0, self._clock.wall()
        while futures:
            future = futures.pop()
            sent = self._sent.pop(future)
            record = self._record(sent, future, now)
            if sent.prepared is not None:
                unused += sent.prepared.most_tokens - _used(record)
            batch.append((sent.task, record))
        if batch:
            self._gate.leave(len(batch), unused)
        return batch

    def _record(self, sent: _Sent, ending: _Ending, now: float) -> Record:
        task, prepared = sent.task, sent.prepared
        if isinstance(ending, _Scored):
            assert prepared is not None
            return scored_record(task, prepared, ending.futures, sent.started_at, now, self._omit)
        if prepared is not None and prepared.wanted.kept is not None:
            return made_record(task, prepared, Best(ending, prepared.wanted), sent.started_at, now, self._omit)
        return made_record(task, prepared, ending, sent.started_at, now, self._omit)

    def _feed(self) -> None:
        """Prepare and submit every task; runs in the feeder thread."""
        error: BaseException | None = None
        try:
            for task in self._tasks:
                if not self._send(task):
                    break
        except BaseException as raised:  # noqa: BLE001 - it is raised where the results are taken
            error = raised
        self._ended.put(_Fed(error))

    def _send(self, task: Task) -> bool:
        """Submit one task as soon as the limits allow it; False when no more may be begun."""
        try:
            prepared = self._preparer.prepare(task)
            if "text" not in self._omit:
                prepared.model.try_tokenizer()  # here, where loading it does not delay the results
        except Exception as error:  # noqa: BLE001 - any fault of a row becomes its error row
            return self._gate.enter(None) and self._report(task, None, failed(error))
        samples = len(prepared.continuations) or 1
        return self._gate.enter(prepared.most_tokens, samples) and self._report(task, prepared, self._begin(prepared))

    def _begin(self, prepared: Prepared) -> _Ending:
        if prepared.continuations:
            return _Scored([
                self._begin_one(prepared, each.prompt, prompt_logprobs_last_n=len(each.tokens))
                for each in prepared.continuations
            ])  # fmt: skip
        return self._begin_one(prepared, prepared.prompt)

    def _begin_one(self, prepared: Prepared, prompt: ModelInput, **more: Any) -> SampleFuture[SampleResponse]:
        wanted = prepared.wanted
        try:
            return prepared.model.client.sample(
                prompt,
                wanted.params,
                timeout=self._timeout,
                queue_state_observer=self._gate,
                **{**wanted.options, **more},
            )
        except (TypeError, ValueError, QueueFullError, SampleTimeoutError) as error:
            return failed(error)

    def _report(self, task: Task, prepared: Prepared | None, future: _Ending) -> bool:
        self._sent[future] = _Sent(task, prepared, self._clock.wall())
        future._report_to(self._ended)  # type: ignore[arg-type]  # a queue that takes more  # noqa: SLF001
        if self._gate.closed:  # since this task entered: it may have come too late to be cancelled with the others
            future.cancel()
        return True


def _used(record: Record) -> int:
    usage = record["usage"]
    return usage["prompt_tokens"] + usage["sampled_tokens"] if usage else 0


def perform(
    tasks: Iterable[Task], models: Models, limits: Limits, *, halt: threading.Event | None = None,
    omit: Collection[str] = (), timeout: float | None = None, tell: Callable[[FlowState], None] | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """Sample tasks in this process: an `Engine`. See `Flow`."""
    return Flow(tasks, models, limits, halt=halt, omit=omit, timeout=timeout, tell=tell).batches()
