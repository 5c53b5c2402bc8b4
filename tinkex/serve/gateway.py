"""The gateway in a thread of its own: start, address, and an end that lets requests under way finish."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from tinkex._validation.arguments import check_port
from tinkex._validation.public_names import with_public_names
from tinkex.serve.app import make_app
from tinkex.service_client import ServiceClient

_BACKLOG: Final = 4096
_DRAIN_SECONDS: Final = 30.0


@with_public_names
class Gateway:
    """An OpenAI-compatible HTTP server that samples through a service client.

    Use it as a context manager, or call `start` and `close`; both may be called from any thread::

        with tinkex.ServiceClient() as service, Gateway(service) as gateway:
            client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none")

    Args:
        service: Where it samples; it stays open when the gateway is closed.
        models: The models to offer: names, ``NAME=PATH`` texts, or a mapping of names to models. None: all that the
            server has, and saved weights by their ``tinker://`` paths.
        host: The address to listen on; one beyond this machine needs `api_key`.
        port: The port to listen on; 0 takes a free one.
        api_key: The key that clients must send, or several; None: none.
        tokenizer: The tokenizer of all models: a name, a path or an object. None: each model's own.
        max_tokens: Most tokens of a chat's answer where the request does not say. None: what is left of the context.
        allowed_hosts: Further host names by which clients address it, as a proxy in front passes them on; "*" for any.

    Raises:
        ValueError: Something is wrong; the text names it.
    """

    def __init__(
        self, service: ServiceClient, models: str | Iterable[str] | Mapping[str, str] | None = None, *,
        host: str = "127.0.0.1", port: int = 0, api_key: str | Iterable[str] | None = None, tokenizer: object = None,
        max_tokens: int | None = None, allowed_hosts: str | Iterable[str] = (),
    ) -> None:  # fmt: skip
        self._app = make_app(
            service, models, api_key=api_key, tokenizer=tokenizer, max_tokens=max_tokens, listens_on=host,
            allowed_hosts=allowed_hosts,
        )  # fmt: skip
        self._host = host
        self._port = check_port(port)
        self._lock = threading.Lock()  # guards what follows
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._url: str | None = None
        self._failure: BaseException | None = None

    def start(self) -> Self:
        """Begin to answer; returns once it listens, at once where it does already.

        Raises:
            OSError: The port is taken.
            RuntimeError: The gateway was closed.
        """
        with self._lock:
            if self._thread is None:
                family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
                listener = socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
                listens = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(listener, listens), name="tinkex-gateway", daemon=True
                )
                self._thread.start()
                listens.wait()
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            if not self._thread.is_alive():
                raise RuntimeError("The gateway is closed: make a new one.")
        return self

    @property
    def url(self) -> str:
        """Its address, such as ``http://127.0.0.1:8000``; clients of OpenAI's API take it with ``/v1`` behind it."""
        if self._url is None:
            raise RuntimeError("The gateway has not been started.")
        return self._url

    def close(self) -> None:
        """Take no further requests, and wait up to 30 seconds for those under way; then they are cancelled."""
        with self._lock:
            if self._thread is not None and self._loop is not None and self._stop is not None:
                if self._thread.is_alive():
                    self._loop.call_soon_threadsafe(self._stop.set)
                self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Gateway at {self._url}>" if self._url else "<Gateway, not started>"

    def _run(self, listener: socket.socket, listens: threading.Event) -> None:
        try:
            asyncio.run(self._serve(listener, listens))
        except BaseException as error:  # noqa: BLE001 - raised by start()
            self._failure = error
            listener.close()
        finally:
            listens.set()

    async def _serve(self, listener: socket.socket, listens: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(
            self._app, access_log=None, logger=_broken_requests, auto_decompress=False, handler_cancellation=True,
            shutdown_timeout=_DRAIN_SECONDS,
        )  # fmt: skip
        await runner.setup()
        try:
            await web.SockSite(runner, listener, backlog=_BACKLOG).start()
            self._url = f"http://{_in_url(self._host)}:{listener.getsockname()[1]}"
            listens.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()


class _InOneLine(logging.Filter):
    """Filter for what aiohttp logs of broken requests: the kind of error, without the traceback, which quotes them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten a record."""
        kind = record.exc_info[0] if record.exc_info else None
        record.msg, record.args = "%s: %s", (record.getMessage(), kind.__name__ if kind else "no error")
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.exc_info = record.exc_text = None
        return True


_broken_requests: Final = logging.getLogger("tinkex.serve.http")
_broken_requests.addFilter(_InOneLine())


def _in_url(host: str) -> str:
    """Return a host as URLs have it: an address of version 6 in brackets."""
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
