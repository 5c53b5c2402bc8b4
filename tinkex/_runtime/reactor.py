"""Reactor: one thread that watches parked sockets, timers and deadlines.

It only waits. What has become ready goes to a worker; so a thousand samples the server is thinking about
cost one thread and a kernel table.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from tinkex._concurrency.clock import Clock, is_moved, nap
from tinkex._runtime.poller import make_poller

logger = logging.getLogger("tinkex")

_AWAKE = float("-inf")
_FOREVER = float("inf")
_COMPACT_EVERY = 1024  # lapsed timers at least; more where more are kept than twice that
_LONGEST_SLEEP = 3600.0
_STOPPED_SECONDS = 1.0  # that the thread sleeps too long, where its process was stopped
_MOST_HELD_SECONDS = 5.0  # that timers wait after that
_GATHER_SECONDS = 0.0003  # between two looks at the sockets where workers are behind


class Resumable(Protocol):
    """Interface of what the reactor resumes: tasks, admission, the connection pool."""

    def resume(self, wait_id: int, value: object) -> bool:
        """End the wait numbered `wait_id` with `value`; False where it has ended already."""

    def is_waiting(self, wait_id: int) -> bool:
        """Whether the wait numbered `wait_id` is still on."""


class TimedOut:
    """Value of a wait that ran into its time limit."""


TIMED_OUT = TimedOut()
READY = True
Timer = tuple[float, int, Resumable, int]


def _guarded(call: Callable[..., object], *arguments: object) -> None:
    """Call it, and log what it raises: an error of one wait must not keep the others from being resumed."""
    try:
        call(*arguments)
    except Exception:
        logger.exception("The tinkex reactor met an error of its own; please report it.")


class _WakeUp(socket.socket):
    """End of the pair that wakes the reactor: without a warning where it is finalized before what would close it."""

    __slots__ = ()

    def __del__(self) -> None:
        self.close()


class Reactor:
    """Resumes waiting tasks: `park` for a socket, `call_at` for a time. Safe to call from any thread.

    Handing over is lock-free: a time goes through a deque, and the thread is only woken when that time comes
    before the one it sleeps until. It publishes `_sleeps_until` before it takes from the deque a last time, and
    callers append before they look at `_sleeps_until`: one of the two sees the other.
    By a clock that is moved by hand it sleeps until that is moved.

    Sockets go before timers: an answer that is there is not late. Where the process was stopped (SIGSTOP, a frozen
    machine) many times pass at once: then timers wait some seconds more, for what has come to be read first.

    While `watch` says that the workers are behind, what becomes ready is gathered: it would only wait in their queue,
    and each turn of this thread takes the interpreter from them.
    """

    _wakeups: tuple[socket.socket, ...] = ()  # where the making was interrupted

    def __init__(self, clock: Clock, name: str, watch: Callable[[], bool] = bool) -> None:
        self._clock = clock
        self._watch = watch
        self._moved = clock if is_moved(clock) else None
        self._name = name
        self._parked: dict[int, tuple[Resumable, int]] = {}
        self._times: deque[Timer] = deque()
        self._heap: list[Timer] = []
        self.lapsed: int = 0  # waits that ended since lapsed timers were last thrown out, about: counted unlocked
        self._numbers = itertools.count()
        self._sleeps_until = self._held_until = _AWAKE
        self._stopping = False
        self._running = threading.Lock()  # taken once, by the thread
        # Not a pipe: they close themselves where this is interrupted.
        out, into = (_WakeUp(each.family, each.type, each.proto, each.detach()) for each in socket.socketpair())
        self._wakeups = out, into
        out.setblocking(False)
        into.setblocking(False)
        self._wakeup_out = out.fileno()
        self._poller = make_poller(self.wake)
        self._poller.watch(self._wakeup_out)

    def start(self) -> None:
        """Start the thread. A second start does nothing.

        So it may be called anew where it was interrupted: whether the thread had begun then cannot be known.
        """
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def stop(self) -> None:
        """End the thread soon."""
        self._stopping = True
        self.wake()

    def park(self, fileno: int, resumable: Resumable, wait_id: int, *, write: bool, known: bool) -> None:
        """Resume `resumable` once `fileno` can be read (or written); `known` says that it was parked before."""
        self._parked[fileno] = (resumable, wait_id)
        self._poller.arm(fileno, write, known)

    def forget(self, fileno: int) -> None:
        """Stop watching `fileno`, which is about to be closed."""
        self._parked.pop(fileno, None)
        with contextlib.suppress(OSError, ValueError):  # it was never armed, or the reactor has ended
            self._poller.forget(fileno)

    def call_at(self, at: float, resumable: Resumable, wait_id: int) -> None:
        """Resume `resumable` with TIMED_OUT at `at` on the client's clock, if still in wait `wait_id`; inf is never."""
        if at == _FOREVER:
            return
        self._times.append((at, next(self._numbers), resumable, wait_id))
        if at < self._sleeps_until:
            self.wake()

    def forked(self) -> None:
        """In a child: give up the kernel table, which the parent still uses, without touching what is in it."""
        self._poller.close()
        self._parked.clear()

    def wake(self) -> None:
        """Have the thread take a turn; what it is about may have changed."""
        with contextlib.suppress(OSError):  # woken already, or collected
            self._wakeups[1].send(b"!")

    def _run(self) -> None:
        if not self._running.acquire(blocking=False):
            return
        unsubscribe = self._moved.subscribe(self.wake) if self._moved is not None else None
        while not self._stopping:
            _guarded(self._turn)
        if unsubscribe is not None:
            unsubscribe()
        self._poller.close()

    def _turn(self) -> None:
        began = self._clock.monotonic()
        behind = self._watch()
        if behind:
            nap(_GATHER_SECONDS)
        self._collect()
        self._sleeps_until = at = max(self._heap[0][0], self._held_until) if self._heap else _FOREVER
        at_once = behind or self._collect() or self._stopping
        for fileno in self._poller.poll(0.0 if at_once else self._pause(at - began)):
            parked = self._parked.pop(fileno, None)
            if parked is not None:
                _guarded(parked[0].resume, parked[1], READY)
            elif fileno == self._wakeup_out:
                os.read(self._wakeup_out, 4096)
        self._sleeps_until = _AWAKE
        now = self._clock.monotonic()  # read before the times are collected: they fire in order, however late they came
        self._collect()
        late = now - max(at, began)
        if late > _STOPPED_SECONDS and self._moved is None:
            self._held_until = now + min(late, _MOST_HELD_SECONDS)
        if now >= self._held_until:
            self._fire(now)

    def _pause(self, seconds: float) -> float | None:
        """How long to wait for a socket where the next timer is due in so many seconds; None: until one is ready."""
        if seconds == _FOREVER or (self._moved is not None and seconds > 0.0):
            return None
        return min(max(seconds, 0.0), _LONGEST_SLEEP)

    def _collect(self) -> bool:
        """Take over what `call_at` handed over; whether there was anything."""
        heap, times, found = self._heap, self._times, False
        try:
            while True:  # not `while times`: taking orders memory between threads, looking need not
                timer = times.popleft()
                found = True
                if timer[2].is_waiting(timer[3]):
                    heapq.heappush(heap, timer)
        except IndexError:
            pass
        if self.lapsed > max(_COMPACT_EVERY, len(heap) // 2):
            heap[:] = [timer for timer in heap if timer[2].is_waiting(timer[3])]
            heapq.heapify(heap)
            self.lapsed = 0
        return found

    def _fire(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, _, resumable, wait_id = heapq.heappop(heap)
            _guarded(resumable.resume, wait_id, TIMED_OUT)

    def __del__(self) -> None:
        # Only when no thread can call `wake` any more; what is collected together with this may still call it.
        for each in self._wakeups:
            each.close()
