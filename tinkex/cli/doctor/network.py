"""Diagnostic steps of the network: DNS, TCP, the proxy, TLS."""

from __future__ import annotations

import base64
import contextlib
import errno
import ipaddress
import socket
import ssl
import time
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from tinkex._identity import USER_AGENT
from tinkex._transport.dial.direct import tls_context
from tinkex.cli.doctor.finding import Trouble, unused
from tinkex.cli.options.settings import proxy_of, without_password
from tinkex.config import ClientConfig, is_loopback
from tinkex.errors import clean_text

_PORTS: Final = {"http": 80, "https": 443}
_MOST_HEAD: Final = 65_536
_PROXY_STATUSES: Final = (403, 502, 503, 504)  # what a proxy says itself, though a server could as well
_UNREACHABLE: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


class Way:
    """Network path to the server, step by step; each step leaves what the next one needs."""

    def __init__(self, config: ClientConfig, seconds: float) -> None:
        self._config = config
        self._seconds = seconds
        self._url = urlsplit(config.base_url)
        self._proxy: SplitResult | None = None
        self._addresses: list[Any] = []
        self._socket: socket.socket | None = None

    def dns(self) -> str:
        """Look up the host to connect to: the server, or the proxy."""
        proxy = proxy_of(self._config)
        if proxy is not None:
            self._proxy = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = self._host_and_port()
        try:
            self._addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Trouble(
                f"{host}: {_error_text(error)}",
                "The name does not exist, or this machine cannot look up names.",
                f"Check {self._origin()}, then the network: is there a VPN to switch on?",
            ) from None
        numbers = list(dict.fromkeys(str(address[4][0]) for address in self._addresses))
        if _is_address(host):
            raise unused(f"{host} is an address")
        return f"{host} is {', '.join(numbers[:4])}" + (" ..." if len(numbers) > 4 else "")

    def tcp(self) -> str:
        """Connect to the first address that takes the connection."""
        refusals = []
        for family, kind, protocol, _, address in self._addresses[:4]:
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(self._seconds / min(4, len(self._addresses)))
            try:
                sock.connect(address)
            except OSError as error:
                sock.close()
                refusals.append((address[0], error))
                continue
            self._socket = sock
            return f"connected to {address[0]} port {address[1]}"
        raise self._refused(refusals)

    def _refused(self, refusals: list[tuple[str, OSError]]) -> Trouble:
        host, port = self._host_and_port()
        words = "; ".join(f"{address}: {_error_text(error)}" for address, error in refusals)
        error = refusals[-1][1]
        if isinstance(error, ConnectionRefusedError):
            cause, advice = f"Nothing listens on port {port} of {host}.", f"Is it running? Check {self._origin()}."
        elif isinstance(error, TimeoutError):
            cause, advice = "A firewall drops the connection, or the machine is down.", "Check VPN, firewall and proxy."
        elif error.errno in _UNREACHABLE:
            cause, advice = "This machine has no route there.", "Check the network, or set HTTPS_PROXY."
        else:
            cause, advice = "The network refused the connection.", f"Check {self._origin()} and the network."
        return Trouble(f"{host} port {port}: {words}", cause, advice)

    def proxy(self) -> str:
        """Ask the proxy, where there is one, for a way to the server."""
        if self._proxy is None:
            raise unused("nothing stands between")
        shown = without_password(self._proxy.geturl())
        if self._proxy.scheme != "http":
            raise unused(f"{shown} is of a kind that is used without being examined")
        status, phrase = self._ask_proxy()
        if status == 407:
            cause = "The proxy wants a user and a password, or others than these."
            raise Trouble(f"{shown}: 407 {phrase}", cause, "Put them into HTTPS_PROXY: http://user:password@host:port.")
        if self._url.scheme == "https" and status != 200:
            raise Trouble(
                f"{shown}: {status} {phrase}", f"The proxy does not let connections through to {self._url.hostname}.",
                f"Ask whoever runs it, or go around it: export NO_PROXY={self._url.hostname}",
            )  # fmt: skip
        if status in _PROXY_STATUSES:
            cause = "The proxy does not let the request through, or does not reach the server."
            advice = f"Ask whoever runs it, or go around it: export NO_PROXY={self._url.hostname}"
            raise Trouble(f"{shown}: {status} {phrase}", cause, advice, "warning")
        return f"goes through {shown}"

    def _ask_proxy(self) -> tuple[int, str]:
        """The proxy's answer to what a client would ask it; a plain request goes on a connection of its own."""
        assert self._socket is not None
        assert self._proxy is not None
        port = self._url.port or _PORTS[self._url.scheme]
        if self._url.scheme == "https":
            line, host = f"CONNECT {self._url.hostname}:{port} HTTP/1.1", f"{self._url.hostname}:{port}"
        else:
            line, host = f"GET {self._url.geturl()}/api/v1/healthz HTTP/1.1", self._url.netloc.rpartition("@")[2]
        usual = f"Host: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: application/json\r\n"
        head = f"{line}\r\n{usual}{_authorization(self._proxy)}\r\n"
        try:
            self._socket.sendall(head.encode("latin-1", "replace"))
            answer = self._head(self._socket)
        except OSError as error:
            cause, advice = "What listens there is no proxy, or a broken one.", f"Check {self._origin()}."
            raise Trouble(f"no answer: {_error_text(error)}", cause, advice) from None
        version, _, rest = answer.partition("\r\n")[0].partition(" ")
        status, _, phrase = rest.partition(" ")
        if not version.startswith("HTTP/") or not status.isdigit():
            cause, advice = "What listens there is no HTTP proxy.", f"Check {self._origin()}."
            raise Trouble(f"the answer makes no sense: {clean_text(answer, 80)!r}", cause, advice)
        return int(status), clean_text(phrase, 100)

    def _head(self, sock: socket.socket) -> str:
        deadline, data = time.monotonic() + self._seconds, b""
        while b"\r\n\r\n" not in data and len(data) < _MOST_HEAD and time.monotonic() < deadline:
            piece = sock.recv(4096)
            if not piece:
                break
            data += piece
        return data.decode("latin-1")

    def tls(self) -> str:
        """Shake hands, and verify the certificate as a client does."""
        if self._url.scheme != "https":
            if is_loopback(self._url.hostname or ""):
                raise unused("the server is on this machine, and asked over plain http")
            cause, advice = "On the way, keys and prompts can be read.", "Use https://"
            raise Trouble("the server is asked over plain http", cause, advice, "warning")
        if self._proxy is not None and self._proxy.scheme != "http":
            raise unused("is not examined behind this kind of proxy")
        assert self._socket is not None
        name = (self._url.hostname or "").rstrip(".")
        try:
            with tls_context(self._config).wrap_socket(self._socket, server_hostname=name) as secured:
                says = f"{secured.version()}, certificate of {name} verified"
        except ssl.SSLCertVerificationError as error:
            raise Trouble(f"{name}: {error.verify_message}", *_mistrust(error, name)) from None
        except ssl.SSLError as error:
            raise Trouble(f"{name}: {error.reason or error}", *_no_tls(error)) from None
        except OSError as error:
            cause = "The connection was cut while shaking hands, or a file of certificates cannot be read."
            raise Trouble(f"{name}: {_error_text(error)}", cause, "Check firewall, proxy and SSL_CERT_FILE.") from None
        if self._config.verify is False:
            raise Trouble(says, "Certificates are not verified.", "Leave verify at True.", "warning")
        return says

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()

    def _host_and_port(self) -> tuple[str, int]:
        url = self._proxy or self._url
        return unquote(url.hostname or ""), url.port or _PORTS.get(url.scheme, 1080)

    def _origin(self) -> str:
        """What to check: where the host's name comes from."""
        return "the proxy settings (HTTPS_PROXY, NO_PROXY)" if self._proxy else "--base-url or TINKER_BASE_URL"


def _authorization(proxy: SplitResult) -> str:
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}\r\n"


def _mistrust(error: ssl.SSLCertVerificationError, name: str) -> tuple[str, str]:
    words = error.verify_message.lower()
    if "expired" in words or "not yet valid" in words:
        return (
            "The certificate, or this machine's clock, is out of date.",
            "Check the date; tell whoever runs the server.",
        )
    if "match" in words:
        return f"The certificate is for another name than {name}.", "Check --base-url or TINKER_BASE_URL."
    return (
        "The certificate is by an authority that is not known here: a company's own, or somebody in between.",
        "If it is the company's, name its CA file: export SSL_CERT_FILE=/path/to/ca.pem",
    )


def _no_tls(error: ssl.SSLError) -> tuple[str, str]:
    if "WRONG_VERSION" in (error.reason or "") or "HTTP_REQUEST" in (error.reason or ""):
        return "What answers there speaks no TLS.", "Try http:// in place of https://, if it is yours, or another port."
    return "The two sides do not agree on how to talk in secret.", "A client certificate or a newer TLS may be needed."


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return True
    return False


def _error_text(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    words = error.strerror if isinstance(error, OSError) else None
    return clean_text(words or str(error) or type(error).__name__, 200)
