"""I/O multiplexing: one-shot readiness of sockets, through epoll, kqueue or poll."""

from __future__ import annotations

import contextlib
import math
import select
from collections.abc import Callable
from typing import Any

from tinkex.errors import NoThreadsError


class EpollPoller:
    """Poller on epoll: arming a socket again is one system call, from any thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.close = self._epoll.close

    def arm(self, fileno: int, write: bool, known: bool) -> None:
        events = select.EPOLLONESHOT | (select.EPOLLOUT if write else select.EPOLLIN | select.EPOLLRDHUP)
        (self._epoll.modify if known else self._epoll.register)(fileno, events)

    def watch(self, fileno: int) -> None:
        self._epoll.register(fileno, select.EPOLLIN)

    def forget(self, fileno: int) -> None:
        self._epoll.unregister(fileno)

    def poll(self, timeout: float | None) -> list[int]:
        return [fileno for fileno, _ in self._epoll.poll(timeout, 4096)]


class KqueuePoller:
    """Poller on kqueue, for macOS and the BSDs."""

    def __init__(self) -> None:
        self._select: Any = select
        self._kqueue = self._select.kqueue()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # in a forked child it is closed already
            self._kqueue.close()

    def _change(self, fileno: int, kind: int, flags: int) -> None:
        self._kqueue.control([self._select.kevent(fileno, kind, flags)], 0)

    def arm(self, fileno: int, write: bool, known: bool) -> None:
        kind = self._select.KQ_FILTER_WRITE if write else self._select.KQ_FILTER_READ
        self._change(fileno, kind, self._select.KQ_EV_ADD | self._select.KQ_EV_ONESHOT)

    def watch(self, fileno: int) -> None:
        self._change(fileno, self._select.KQ_FILTER_READ, self._select.KQ_EV_ADD)

    def forget(self, fileno: int) -> None:
        """Closing a descriptor removes it."""

    def poll(self, timeout: float | None) -> list[int]:
        return [event.ident for event in self._kqueue.control(None, 4096, timeout)]


class PollPoller:
    """Poller on poll, where something such as gevent has taken the others away; `wake` ends a running poll."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._armed: dict[int, int] = {}
        self._watched: dict[int, int] = {}

    def close(self) -> None:
        self._armed.clear()

    def arm(self, fileno: int, write: bool, known: bool) -> None:
        self._armed[fileno] = select.POLLOUT if write else select.POLLIN
        self._wake()

    def watch(self, fileno: int) -> None:
        self._watched[fileno] = select.POLLIN

    def forget(self, fileno: int) -> None:
        self._armed.pop(fileno, None)

    def poll(self, timeout: float | None) -> list[int]:
        poll = select.poll()
        for fileno, events in (*self._watched.items(), *tuple(self._armed.items())):
            poll.register(fileno, events)
        ready = [fileno for fileno, _ in poll.poll(None if timeout is None else math.ceil(timeout * 1000))]
        for fileno in ready:
            self._armed.pop(fileno, None)
        return ready


def make_poller(wake: Callable[[], None]) -> EpollPoller | KqueuePoller | PollPoller:
    if hasattr(select, "epoll"):
        return EpollPoller()
    if hasattr(select, "kqueue"):
        return KqueuePoller()
    if hasattr(select, "poll"):
        return PollPoller(wake)
    raise NoThreadsError("This process has no select.poll: eventlet took it away, and tinkex cannot work without it.")
