"""aiohttp application on an event loop of its own, in a daemon thread."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from tinkex.testing._faults.kinds import reset

T = TypeVar("T")
_BACKLOG = 4096
_TURNS = 5


class _FaultyConnection(asyncio.Protocol):
    """Protocol of an injected connection fault: reset, close, or silence after the accept."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._kind == "reset":
            reset(transport)
        elif self._kind == "close":
            transport.close()


async def _settle() -> None:
    """Run the callbacks that are already scheduled, and those that they schedule."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class ServerThread:
    """Server in a daemon thread: one listening socket, one event loop.

    `connections` counts the connections accepted so far, `open_connections` those that are open.
    """

    def __init__(self, app: web.Application, on_connect: Callable[[], str | None]) -> None:
        self._app = app
        self._on_connect = on_connect
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.connections = 0

    @property
    def forked(self) -> bool:
        """Whether this object was copied into a forked child, which has no such thread."""
        return os.getpid() != self._pid

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        server = None if self._runner is None else self._runner.server
        return 0 if server is None else len(server.connections)

    def start(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        """Serve on a bound socket; returns once it accepts connections."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, context, ready)), name="tinkex-fake-server", daemon=True
        )
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("The fake server did not start.")

    async def _serve(self, listener: socket.socket, context: ssl.SSLContext | None, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._runner = web.AppRunner(
            self._app,
            handle_signals=False,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.01,  # 0 would be no limit
        )
        await self._runner.setup()
        server = await self._loop.create_server(self._protocol, sock=listener, ssl=context, backlog=_BACKLOG)
        ready.set()
        await self._stop.wait()
        self._loop.set_exception_handler(lambda *_: None)  # what breaks off now is meant to
        self._loop.remove_reader(listener)
        await _settle()  # what has just been accepted becomes a connection
        server.close()
        await self._drop_connections()
        await self._runner.cleanup()
        await self._drop_connections()

    async def _drop_connections(self) -> None:
        """Abort every connection, also one that is still shaking hands, of which no protocol knows."""
        transports: Any = getattr(self._loop, "_transports", {})
        for transport in tuple(transports.values()):
            if isinstance(transport, asyncio.Transport):
                transport.abort()
        await _settle()

    def _protocol(self) -> asyncio.BaseProtocol:
        self.connections += 1
        kind = self._on_connect()
        if kind is not None:
            return _FaultyConnection(kind)
        assert self._runner is not None
        assert self._runner.server is not None
        return self._runner.server()

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the loop; from any thread, also after the end (then right here)."""
        loop = self._loop
        if loop is None or not loop.is_running() or self._on_loop():
            return function()

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), loop).result(10)

    def _on_loop(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._loop is None or self._thread is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)
