"""Admission control: which sample may be sent now. Fair between clients, bounded, paused for all together.

The limits are those the official client keeps: 400 submissions at once and 10 MiB of them; for
10 s after the server asked for a pause, 10 submissions, and a byte counts twenty-fold.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable

from tinkex._concurrency.clock import Clock
from tinkex._concurrency.fork_locks import new_lock
from tinkex._runtime.task import Permit, ScheduledTask, Scheduler
from tinkex.errors import ClientClosedError, QueueFullError, SampleTimeoutError

_SUBMISSIONS = 400
_THROTTLED_SUBMISSIONS = 10
_THROTTLED_SECONDS = 10.0
_THROTTLED_BYTE_WEIGHT = 20
_SWEEP_ABOVE = 1000  # samples that ended while queued and are still in the queues
_ROOM_DEADLINE = -1  # wait id of the deadlines of blocked callers; those of pauses count up from 1
_STAGGER = 0.2  # of a pause, at most 1 s: processes that were paused together come back one by one
_chance = random.SystemRandom()  # a program's own random numbers stay as they are


class ClientQueue:
    """Queue of one sampling client: its samples that wait to be sent, in order."""

    __slots__ = ("listed", "tasks")

    def __init__(self) -> None:
        self.tasks: deque[tuple[ScheduledTask, int]] = deque()
        self.listed = False


class SubmitPermit(Permit):
    """Permit to submit now; released, once, after the submission."""

    __slots__ = ("_admission", "_weight")

    def __init__(self, admission: Admission, weight: int) -> None:
        self._admission: Admission | None = admission
        self._weight = weight

    def release(self) -> None:
        """Let the next submission go."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission._submitted(self._weight)  # noqa: SLF001 - a permit is a piece of Admission


class ReacquirePermit:
    """Wait to submit once more, ahead of samples that have not been sent yet; yields a `SubmitPermit`."""

    __slots__ = ("_admission", "_size")
    until = float("inf")

    def __init__(self, admission: Admission, size: int) -> None:
        self._admission = admission
        self._size = size

    def subscribe(self, task: ScheduledTask, wait_id: int) -> None:
        """Queue ahead of new samples."""
        self._admission.reacquire(task, wait_id, self._size)


class Admission:
    """Admission control: gives a sample its place in flight, and a `SubmitPermit` while it is submitted.

    `offer` is what `sample()` calls: an append and a put, no lock. Workers take a wake-up for every offer; one that
    finds admission closed is pending, and is put again when admission opens.
    """

    def __init__(self, scheduler: Scheduler, clock: Clock, limits: Callable[[], tuple[int, int, int]]) -> None:
        self._workers = scheduler.workers
        self._reactor = scheduler.reactor
        self._clock = clock
        self._limits = limits  # max_in_flight, max_queued, dispatch bytes, as they are now
        self._claims = itertools.count(1)  # of places in the queue; without `_taken` of them, the number that are held
        self._lock = new_lock()  # guards all below
        self._room = threading.Condition(self._lock)
        self._blocked = 0
        self._next_alarm = float("inf")  # when the first blocked caller's deadline comes
        self._taken = 0
        self._dropped = 0  # since the last sweep
        self._pending_wakeups = 0  # wake-ups that found admission closed: so many tasks have none
        self._queues: deque[ClientQueue] = deque()
        self._reacquiring: deque[tuple[ScheduledTask, int, int]] = deque()
        self._submitting = 0
        self._bytes = 0
        self._throttled_until = float("-inf")
        self._wait_id = 0
        self._closed = False
        self.in_flight = 0
        self.paused_until = float("-inf")
        self.paused_reason: str | None = None

    def offer(self, queue: ClientQueue, task: ScheduledTask, size: int) -> None:
        """Queue a task; `size` is its estimated bytes. The caller has made sure that there is room: `reserve`."""
        queue.tasks.append((task, size))
        if not queue.listed:
            self._list(queue)
        self._workers.put(self)

    def reserve(self, on_full: str, until: float) -> None:
        """Claim a place in the bounded queue; blocks until there is one, or raises QueueFullError.

        Blocking ends with SampleTimeoutError at `until` on the client's clock, with ClientClosedError at the close.
        """
        if next(self._claims) - self._taken > self._limits()[1]:
            with self._lock:
                self._free_place()  # to claim again under the lock, where no other caller tries
                while next(self._claims) - self._taken > self._limits()[1]:
                    self._taken += 1
                    self._wait_for_room(on_full, until)

    def reacquire(self, task: ScheduledTask, wait_id: int, size: int) -> None:
        """See `ReacquirePermit`."""
        with self._lock:
            self._reacquiring.append((task, wait_id, size))
        self._workers.put(self)

    def pause(self, seconds: float, reason: str | None) -> None:
        """Pause all submissions for `seconds`; then let a few go at a time."""
        now = self._clock.monotonic()
        seconds += _chance.uniform(0, min(1.0, _STAGGER * seconds))
        with self._lock:
            if now + seconds <= self.paused_until:
                return
            self.paused_until = now + seconds
            self.paused_reason = reason
            self._throttled_until = self.paused_until + _THROTTLED_SECONDS
            self._wait_id += 1
            wait_id = self._wait_id
        self._reactor.call_at(self.paused_until, self, wait_id)

    def dropped(self) -> None:
        """A sample ended before it was sent: its place in the queue is free."""
        with self._lock:
            self._free_place()
            self._dropped += 1
            if self._dropped > _SWEEP_ABOVE and 2 * self._dropped > sum(len(queue.tasks) for queue in self._queues):
                self._sweep()

    def ended(self) -> None:
        """A sample that was in flight is not any more."""
        with self._lock:
            self.in_flight -= 1
        self._reissue(2)

    def limits_changed(self) -> None:
        """Admit by the new limits: wake queued tasks, and callers that wait for room in the queue."""
        with self._lock:
            self._room.notify_all()
            more = self._limits()[0] - self.in_flight
        self._reissue(max(0, more))

    def close(self) -> None:
        """Wake the callers blocked in `reserve`, with ClientClosedError."""
        with self._lock:
            self._closed = True
            self._room.notify_all()

    def run(self) -> None:
        """Use one wake-up: admit the next task, if admission is open. Called by workers."""
        with self._lock:
            taken = self._take()
        if taken is None:
            return
        task, wait_id, permit = taken
        if wait_id is not None:
            if not task.resume(wait_id, permit):
                permit.release()
        elif not task.begin(permit):  # ended on the way here, and `dropped` frees its place in the queue as well
            with self._lock:
                self._taken -= 1
            permit.release()
            self.ended()

    def resume(self, wait_id: int, value: object) -> bool:
        """A pause is over, or the deadline of a blocked caller has come; called by the reactor."""
        if wait_id == _ROOM_DEADLINE:
            with self._lock:
                self._next_alarm = float("inf")
                self._room.notify_all()
        elif wait_id == self._wait_id:
            self._reissue(_THROTTLED_SUBMISSIONS)
        return True

    def is_waiting(self, wait_id: int) -> bool:
        """Whether that timer still has a purpose."""
        return wait_id in (_ROOM_DEADLINE, self._wait_id)

    def _list(self, queue: ClientQueue) -> None:
        with self._lock:
            if not queue.listed:
                queue.listed = True
                self._queues.append(queue)

    def _take(self) -> tuple[ScheduledTask, int | None, SubmitPermit] | None:
        now = self._clock.monotonic()
        most_in_flight, _, most_bytes = self._limits()
        throttled = now < self._throttled_until
        most_submissions = _THROTTLED_SUBMISSIONS if throttled else _SUBMISSIONS
        if now < self.paused_until or self._bytes > most_bytes or self._submitting >= most_submissions:
            self._pending_wakeups += 1
            return None
        weight = _THROTTLED_BYTE_WEIGHT if throttled else 1
        while self._reacquiring:
            task, wait_id, size = self._reacquiring.popleft()
            if task.is_waiting(wait_id):
                return task, wait_id, self._permit(size * weight)
        if self.in_flight >= most_in_flight:
            self._pending_wakeups += 1
            return None
        found = self._next_new()
        if found is None:
            return None
        task, size = found
        self._free_place()
        self.in_flight += 1
        return task, None, self._permit(size * weight)

    def _next_new(self) -> tuple[ScheduledTask, int] | None:
        while self._queues:
            queue = self._queues.popleft()
            queue.listed = False
            with contextlib.suppress(IndexError):  # empty
                while True:  # after `listed` was cleared: an `offer` in between is seen here, or lists the queue anew
                    task, size = queue.tasks.popleft()
                    if not task.done:
                        queue.listed = True
                        self._queues.append(queue)
                        return task, size
        return None

    def _sweep(self) -> None:
        """Remove ended tasks from the queues, which a long pause would keep."""
        self._dropped = 0
        for queue in self._queues:
            for _ in range(len(queue.tasks)):
                entry = queue.tasks.popleft()
                if not entry[0].done:
                    queue.tasks.append(entry)

    def _permit(self, weight: int) -> SubmitPermit:
        self._submitting += 1
        self._bytes += weight
        return SubmitPermit(self, weight)

    def _submitted(self, weight: int) -> None:
        with self._lock:
            self._submitting -= 1
            self._bytes -= weight
        self._reissue(2)

    def _reissue(self, most: int) -> None:
        """Put up to `most` of the pending wake-ups again; call it without the lock."""
        with self._lock:
            wakeups = min(self._pending_wakeups, most)
            self._pending_wakeups -= wakeups
        for _ in range(wakeups):
            self._workers.put(self)

    def _free_place(self) -> None:
        self._taken += 1
        if self._blocked:
            self._room.notify()

    def _wait_for_room(self, on_full: str, until: float) -> None:
        """Wait until there may be a place, or raise."""
        now = self._clock.monotonic()
        if self._closed:
            raise ClientClosedError
        if on_full == "raise":
            most = self._limits()[1]
            raise QueueFullError(
                f"{most} samples are queued already (max_queued). Try again later, or use on_full='block'.",
                retry_after=max(1.0, self.paused_until - now),
            )
        if now >= until:
            raise SampleTimeoutError(
                "The queue stayed full (max_queued) until the deadline: nothing was sent", "queued"
            )
        if until < self._next_alarm:
            self._next_alarm = until
            self._reactor.call_at(until, self, _ROOM_DEADLINE)
        self._blocked += 1
        try:
            self._room.wait()
        except BaseException:
            self._room.notify()  # another caller may have the place that this one leaves
            raise
        finally:
            self._blocked -= 1
