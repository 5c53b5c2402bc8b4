"""Interface of dialers, and what they have in common."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from urllib.parse import SplitResult, urlsplit

from tinkex._transport.http11 import Response
from tinkex.config import ClientConfig
from tinkex.errors import APIConnectionError, clean_text

_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


class Dialer(ABC):
    """Dialer: opens sockets to one base URL. Everything it needs to know is read once, when it is made."""

    plain = True
    """False where there are no sockets to open, since only a requests adapter knows the way: then `call` carries whole
    exchanges, blocking."""
    proxy: str | None = None
    """The proxy that stands between, as a URL with its password; None where none does."""
    authorization: str | None = None
    """What a netrc file says to send as Authorization; None without an entry."""

    def __init__(self, config: ClientConfig) -> None:
        self.url: SplitResult = urlsplit(config.base_url)
        self._connect_timeout = config.connect_timeout

    @abstractmethod
    def open(self) -> socket.socket:
        """A connected, verified, non-blocking socket; raises APIConnectionError.

        Blocks at most `connect_timeout` an address and a handshake step; a DNS lookup takes what it takes.
        """

    def call(self, head: bytes, body: bytes, timeout: float, max_body: int) -> Response:
        """One whole exchange, blocking, where `plain` is False; `timeout` bounds the wait for each piece."""
        raise NotImplementedError

    def target(self, path: str) -> str:
        """What stands in the request line for `path`: absolute where a proxy forwards plain HTTP."""
        return path

    @property
    def proxy_headers(self) -> list[tuple[str, str]]:
        """Header fields for a proxy that forwards plain HTTP; a CONNECT proxy gets its own when dialled."""
        return []

    def limit_connecting(self, seconds: float) -> None:
        """Give up connecting after so many seconds, from the next connection on."""
        self._connect_timeout = seconds

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """Close what is kept open beside the sockets that were handed out."""

    def forked(self) -> None:  # noqa: B027 - as above
        """In a child: let go of what the parent still uses."""

    def _refusal(self, error: Exception, through: str = "") -> APIConnectionError:
        host = self.url.netloc.rpartition("@")[2]
        refusal = APIConnectionError(
            f"No connection to {host}{through}: {error_line(error)}. Nothing was sent. Check base_url, the network and"
            f" the proxy and certificate settings."
        )
        refusal.hint = ""  # said already
        refusal.retryable = not _is_final(error)
        return refusal


def ready(raw: socket.socket) -> socket.socket:
    """Set socket options: keep-alive probes, sent before a middlebox forgets the connection, and non-blocking mode."""
    if raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    raw.setblocking(False)
    return raw


def not_now(raw: socket.socket) -> tuple[type[OSError], ...]:
    """The errors by which a non-blocking socket says that it would block."""
    if type(raw) is socket.socket:
        return (BlockingIOError, InterruptedError)
    import ssl  # here, since it takes its time to load, and plain HTTP has no use for it

    return (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def _is_final(error: BaseException) -> bool:
    """Whether the two sides disagree about TLS, which no repetition will change."""
    while error.args and isinstance(error.args[0], BaseException):  # urllib3 and requests wrap what happened
        error = error.args[0]
    return type(error).__name__ in ("SSLCertVerificationError", "SSLError")


def error_line(error: Exception) -> str:
    """The text of an error, sanitised, as one line."""
    return clean_text(str(error), 500) or type(error).__name__
