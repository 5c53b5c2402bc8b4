"""Admission control: which sample may be sent now. Fair between clients, bounded, paused for all together.

The limits are those the official client keeps: 400 submissions at once and 10 MiB of them; for
10 s after the server asked for a pause, 10 submissions, and a byte counts twenty-fold. First of all a single one tries.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from tinkex._concurrency.clock import Clock
from tinkex._concurrency.fork_locks import new_lock
from tinkex._concurrency.jitter import uniform
from tinkex._runtime.task import Permit, ScheduledTask, Scheduler
from tinkex.errors import ClientClosedError, QueueFullError, SampleTimeoutError

_SUBMISSIONS = 400
_THROTTLED_SUBMISSIONS = 10
_THROTTLED_SECONDS = 10.0
_THROTTLED_BYTE_WEIGHT = 20
_PROBE_SECONDS = 1.0  # that the others leave the one that tries first, where it is not answered sooner
_MOST_FLOOR = 5.0  # what pauses grow to that the server asks for one after the other; longer ones are as asked
_SERIES_SECONDS = 60.0  # after the end of a pause, within which another one follows it
_SWEEP_ABOVE = 1000  # samples that ended while queued and are still in the queues
_LOOK_SECONDS = 0.05  # at most, until a blocked caller looks again by itself
_STAGGER = 0.2  # of a pause, at most 1 s: processes that were paused together come back one by one


class ClientQueue:
    """Queue of one sampling client: its samples that wait to be sent, in order."""

    __slots__ = ("listed", "tasks")

    def __init__(self) -> None:
        self.tasks: deque[tuple[ScheduledTask, int]] = deque()
        self.listed: bool = False


class Throttle:
    """Submission rate under backpressure: none in a pause that the server asked for, then one, a few, and all again.

    Pauses that follow each other without an accepted submission grow, from a floor on: the server may ask for next to
    nothing. All instants are on the client's clock. Guarded by the admission's lock, but for single reads.
    """

    def __init__(self) -> None:
        self.paused_until: float = float("-inf")
        self.reason: str | None = None
        self.cause: str = "unknown"  # the reason in a word
        self.refused_since: float | None = None  # when the first pause began since a submission was accepted
        self._floor = 0.0  # of the last pause, in seconds; 0 once a submission was accepted

    @property
    def probes_until(self) -> float:
        """Until when a single submission goes, since none has been accepted after the pause."""
        return self.paused_until + (_PROBE_SECONDS if self._floor else 0.0)

    def pause(self, now: float, seconds: float, floor: float, reason: str | None, cause: str = "unknown") -> bool:
        """Begin a pause of `seconds`, at least `floor` or what that has grown to; False where a longer one is on."""
        if now >= self.paused_until:  # the answer to a submission after the last pause, not to one beside it
            follows = now - self.paused_until < _SERIES_SECONDS
            self._floor = max(floor, min(2 * self._floor, _MOST_FLOOR)) if follows else floor
            if not follows:
                self.refused_since = None
            seconds = max(seconds, self._floor)
        seconds += uniform(0, min(1.0, _STAGGER * seconds))
        if now + seconds <= self.paused_until:
            return False
        if self.refused_since is None:
            self.refused_since = now
        self.paused_until = now + seconds
        self.reason, self.cause = reason, cause
        return True

    def lift(self, now: float) -> None:
        """End the pause that is on; a single submission tries first."""
        if now < self.paused_until:
            self.paused_until = self.refused_since = now

    def accept(self) -> bool:
        """Note an accepted submission; whether more may go for that."""
        probed, self._floor, self.refused_since = self._floor > 0.0, 0.0, None
        return probed

    def submissions(self, now: float) -> int:
        """How many submissions may be on their way at once."""
        since = now - self.paused_until
        if since >= _THROTTLED_SECONDS:
            return _SUBMISSIONS
        return 0 if since < 0.0 else 1 if now < self.probes_until else _THROTTLED_SUBMISSIONS


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
        self._most_queued = limits()[1]  # kept, since every `reserve` looks at it
        self._places: set[ScheduledTask] = set()  # the tasks that hold a place in the bounded queue
        self._blocked: deque[threading.Lock] = deque()  # each held by a caller that waits for a place, who sleeps on it
        self._lock = new_lock()  # guards all below
        self._dropped = 0  # since the last sweep
        self._pending_wakeups = 0  # wake-ups that found admission closed: so many tasks have none
        self._queues: deque[ClientQueue] = deque()
        self._reacquiring: deque[tuple[ScheduledTask, int, int]] = deque()
        self._submitting = 0
        self._bytes = 0
        self._wait_id = 0
        self._closed = False
        self.in_flight: int = 0
        self.throttle: Throttle = Throttle()

    def offer(self, queue: ClientQueue, task: ScheduledTask, size: int) -> None:
        """Queue a task; `size` is its estimated bytes. The caller has made sure that there is room: `reserve`."""
        queue.tasks.append((task, size))
        if not queue.listed:
            self._list(queue)
        self._workers.put(self)

    def reserve(self, task: ScheduledTask, on_full: str, until: float) -> None:
        """Take a place in the bounded queue for `task`; blocks until there is one, or raises QueueFullError.

        Blocking ends with SampleTimeoutError at `until` on the client's clock, with ClientClosedError at the close.
        A caller that does not offer the task then, for any reason, cancels it: that frees the place.
        """
        places = self._places
        places.add(task)
        if len(places) > self._most_queued:
            places.discard(task)
            self._wait_for_place(task, on_full, until)

    def reacquire(self, task: ScheduledTask, wait_id: int, size: int) -> None:
        """See `ReacquirePermit`."""
        with self._lock:
            self._reacquiring.append((task, wait_id, size))
        self._workers.put(self)

    def pause(self, seconds: float, floor: float, reason: str | None, cause: str = "unknown") -> None:
        """Pause all submissions, as the answer to one asks; see `Throttle`."""
        throttle = self.throttle
        with self._lock:
            if not throttle.pause(self._clock.monotonic(), seconds, floor, reason, cause):
                return
            self._wait_id += 1
            wait_id = self._wait_id
        for until in (throttle.paused_until, throttle.probes_until):
            self._reactor.call_at(until, self, wait_id)

    def lift_pause(self) -> None:
        """End the pause that is on: one submission tries now, and the others follow it."""
        with self._lock:
            self.throttle.lift(self._clock.monotonic())
            wait_id = self._wait_id  # the pause's own: its timers do no harm, and are all there is after a Ctrl-C
        self._reactor.call_at(self.throttle.probes_until, self, wait_id)
        self._reissue(1)

    def accepted(self) -> None:
        """A submission was accepted: the others need not wait for one that tries."""
        if self.throttle.refused_since is not None:
            with self._lock:
                probed = self.throttle.accept()
            if probed:
                self._reissue(_THROTTLED_SUBMISSIONS)

    def dropped(self, task: ScheduledTask) -> None:
        """A sample ended before it was sent: its place in the queue is free."""
        self._free_place(task)
        with self._lock:
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
        self._most_queued = self._limits()[1]
        self._wake_blocked(len(self._blocked))
        self._reissue(max(0, self._limits()[0] - self.in_flight))

    def close(self) -> None:
        """Wake the callers blocked in `reserve`, with ClientClosedError."""
        self._closed = True
        self._wake_blocked(len(self._blocked))

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
        elif not task.begin(permit):  # it ended on the way here
            permit.release()
            self.ended()

    def resume(self, wait_id: int, value: object) -> bool:
        """A pause is over; called by the reactor."""
        if wait_id == self._wait_id:
            self._reissue(_THROTTLED_SUBMISSIONS)
        return True

    def is_waiting(self, wait_id: int) -> bool:
        """Whether that timer still has a purpose."""
        return wait_id == self._wait_id

    def _list(self, queue: ClientQueue) -> None:
        with self._lock:
            if not queue.listed:
                self._queues.append(queue)  # first: after a Ctrl-C in between it stands there twice, not nowhere
                queue.listed = True

    def _take(self) -> tuple[ScheduledTask, int | None, SubmitPermit] | None:
        now = self._clock.monotonic()
        most_in_flight, _, most_bytes = self._limits()
        most_submissions = self.throttle.submissions(now)
        if self._submitting >= most_submissions or self._bytes > most_bytes:
            self._pending_wakeups += 1
            return None
        weight = 1 if most_submissions == _SUBMISSIONS else _THROTTLED_BYTE_WEIGHT
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
        self._free_place(task)
        self.in_flight += 1
        return task, None, self._permit(size * weight)

    def _next_new(self) -> tuple[ScheduledTask, int] | None:
        while self._queues:
            queue = self._queues.popleft()
            queue.listed = False
            try:
                while True:  # after `listed` was cleared: an `offer` in between is seen here, or lists the queue anew
                    task, size = queue.tasks.popleft()
                    if not task.done:
                        queue.listed = True
                        self._queues.append(queue)
                        return task, size
            except IndexError:  # empty
                pass
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
        wakeups = 0
        try:
            with self._lock:
                wakeups = min(self._pending_wakeups, most)
                self._pending_wakeups -= wakeups
            for _ in range(wakeups):
                self._workers.put(self)
        except BaseException:  # a Ctrl-C: too many of them do no harm
            with self._lock:
                self._pending_wakeups += wakeups
            raise

    def _free_place(self, task: ScheduledTask) -> None:
        self._places.discard(task)
        if self._blocked:
            self._wake_blocked(1)

    def _wake_blocked(self, count: int) -> None:
        """Have so many of the blocked callers look again."""
        for _ in range(count):
            with contextlib.suppress(IndexError, RuntimeError):  # none is left, or it was woken already
                self._blocked.popleft().release()

    def _wait_for_place(self, task: ScheduledTask, on_full: str, until: float) -> None:
        """Sleep until there is a place, and take it, or raise; an exception at any line leaves nothing locked or taken.

        A wake-up is lost where a Ctrl-C ends the caller it was for: so callers also look now and then by themselves.
        """
        sleep_lock = threading.Lock()
        sleep_lock.acquire()
        while not self._take_place(task):
            seconds = self._seconds_to_wait(on_full, until)
            self._blocked.append(sleep_lock)
            try:
                sleep_lock.acquire(timeout=min(seconds, _LOOK_SECONDS))
            finally:
                with contextlib.suppress(ValueError):  # woken, and taken out of the line
                    self._blocked.remove(sleep_lock)

    def _take_place(self, task: ScheduledTask) -> bool:
        with self._lock:  # of blocked callers one looks at a time
            self._places.add(task)
            if len(self._places) <= self._most_queued:
                return True
            self._places.discard(task)
            return False

    def _seconds_to_wait(self, on_full: str, until: float) -> float:
        """Seconds that a caller may still wait for a place; raises where it may not."""
        now = self._clock.monotonic()
        if self._closed:
            raise ClientClosedError
        if on_full == "raise":
            raise QueueFullError(
                f"{self._most_queued} samples are queued already (max_queued). Try again later, or use"
                " on_full='block'.",
                retry_after=max(1.0, self.throttle.paused_until - now),
            )
        if now >= until:
            raise SampleTimeoutError(
                "The queue stayed full (max_queued) until the deadline: nothing was sent", "queued"
            )
        return until - now
