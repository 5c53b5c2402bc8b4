"""Dialer through requests and urllib3, which this module alone imports: proxies, CONNECT, adapters, netrc."""

from __future__ import annotations

import http.client
import socket
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3
import urllib3.exceptions
from urllib3.util import ssl_

from tinkex._transport.dial.base import Dialer, error_line, ready
from tinkex._transport.http11 import MOST_OF_AN_ERROR, Response
from tinkex._validation.fields import check_proxy
from tinkex.config import ClientConfig, heeds_proxy_variables
from tinkex.errors import APIConnectionError, APIResponseError, APITimeoutError

_PROXY = "proxies: what the settings or the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) name for base_url"
_PIECE_BYTES = 256 * 1024
_KEPT_CONNECTIONS = 96


class AdaptedDialer(Dialer):
    """Dials through a proxy that urllib3 can tunnel or forward through, or has an adapter carry whole exchanges."""

    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config)
        self._base = f"{self.url.scheme}://{self.url.netloc}"
        session = requests.Session()
        session.trust_env = heeds_proxy_variables(config)
        environment = session.merge_environment_settings(
            config.base_url, dict(config.proxies or {}), stream=False, verify=config.verify, cert=config.cert
        )
        self._proxies: dict[str, str] = dict(environment["proxies"])
        self._verify: bool | str = environment["verify"] or False
        self._cert = environment["cert"]
        self.authorization = netrc_authorization(config) if config.trust_env else None
        self.proxy = requests.utils.select_proxy(config.base_url, self._proxies)
        if self.proxy:
            check_proxy(_PROXY, self.proxy)
        self._borrowed = config.adapter is not None
        self._adapter: requests.adapters.BaseAdapter = config.adapter or _own_adapter()
        proxy_scheme = (self.proxy or "http").partition("://")[0].lower()
        self.plain = not self._borrowed and (proxy_scheme == "http" or "://" not in (self.proxy or ""))
        self._pool: urllib3.HTTPConnectionPool | None = self._make_pool() if self.plain else None
        self._absolute = bool(self.proxy) and self.url.scheme == "http"

    def target(self, path: str) -> str:
        """What stands in the request line for `path`: absolute where a proxy forwards plain HTTP."""
        return f"{self._base}{path}" if self._absolute else path

    @property
    def proxy_headers(self) -> list[tuple[str, str]]:
        """Header fields for a proxy that forwards plain HTTP; a CONNECT proxy gets its own when dialled."""
        if not self._absolute or self._pool is None:
            return []
        return list(self._pool.proxy_headers.items())

    def open(self) -> socket.socket:
        """A connected, verified, non-blocking socket; raises APIConnectionError."""
        assert self._pool is not None
        connection: Any = self._pool._new_conn()  # noqa: SLF001 - private: a test watches that urllib3 keeps it
        try:
            if self._pool.proxy is not None and self.url.scheme == "https":
                self._pool._prepare_proxy(connection)  # noqa: SLF001 - as above
            else:
                connection.connect()
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            connection.close()
            raise self._refusal(error) from None
        raw: socket.socket = connection.sock
        connection.sock = None  # ours now: the urllib3 object must not close it
        return ready(raw)

    def call(self, head: bytes, body: bytes, timeout: float, max_body: int) -> Response:
        """One whole exchange through the requests adapter, blocking."""
        method, target, headers = _parse_head(head)
        url = target if "://" in target else self._base + target
        prepared = requests.Request(method, url, headers=headers, data=body or None).prepare()
        prepared.headers = requests.structures.CaseInsensitiveDict(headers)
        try:
            answer = self._adapter.send(
                prepared, stream=True, timeout=(self._connect_timeout, timeout), verify=self._verify, cert=self._cert,
                proxies=self._proxies,
            )  # fmt: skip
            try:
                content = _content(answer, max_body)
            finally:
                answer.close()
        except requests.exceptions.ContentDecodingError as error:
            raise APIResponseError(f"The server sent {error_line(error)}.", may_have_run=True) from None
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            raise self._failure(error, timeout) from None
        return Response(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, content)

    def close(self) -> None:
        """Close the connections an adapter of ours keeps; one that was handed in is the caller's to close."""
        if not self._borrowed:
            self._adapter.close()

    def forked(self) -> None:
        """In a child: let go of an adapter's connections, which the parent still uses."""
        if self._borrowed and isinstance(self._adapter, requests.adapters.HTTPAdapter):
            fresh: Any = self._adapter
            fresh.__setstate__(fresh.__getstate__())  # what it does when unpickled: new pools

    def limit_connecting(self, seconds: float) -> None:
        """Give up connecting after so many seconds, from the next connection on."""
        super().limit_connecting(seconds)
        if self._pool is not None:
            pool: Any = self._pool
            pool.timeout = urllib3.Timeout(connect=seconds, read=seconds)

    def _make_pool(self) -> urllib3.HTTPConnectionPool:
        adapter: Any = self._adapter
        prepared = requests.Request("POST", self._base).prepare()
        try:
            pool: Any = adapter.get_connection_with_tls_context(prepared, self._verify, self._proxies, self._cert)
        except (urllib3.exceptions.LocationParseError, requests.exceptions.InvalidURL):  # they know more of hosts
            raise ValueError(f"{_PROXY} is not the URL of a proxy, such as http://host:port") from None
        pool.timeout = urllib3.Timeout(connect=self._connect_timeout, read=self._connect_timeout)
        if self.url.scheme == "https":
            adapter.cert_verify(pool, self._base, self._verify, self._cert)
            _share_context(pool)
        made: urllib3.HTTPConnectionPool = pool
        return made

    def _failure(self, error: Exception, timeout: float) -> APIConnectionError:
        """What an exchange through an adapter failed with, and whether the server can have acted on it."""
        nothing_sent = (
            requests.exceptions.ConnectTimeout,
            requests.exceptions.SSLError,
            requests.exceptions.ProxyError,
            requests.exceptions.InvalidSchema,
            requests.exceptions.InvalidURL,
        )
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(error, nothing_sent) or isinstance(reason, urllib3.exceptions.NewConnectionError):
            return self._refusal(error)
        if isinstance(error, requests.exceptions.Timeout):
            return APITimeoutError(f"The server gave no answer within {timeout:g} s.", may_have_run=True)
        return APIConnectionError(f"The connection was lost: {error_line(error)}.", may_have_run=True)

    def _refusal(self, error: Exception, through: str = "") -> APIConnectionError:
        if self.proxy:
            through = f" through the proxy {_without_password(self.proxy)}"
        return super()._refusal(error, through)


def _own_adapter() -> requests.adapters.HTTPAdapter:
    """An HTTP adapter that keeps a connection for every thread that may call it."""
    return requests.adapters.HTTPAdapter(max_retries=0, pool_maxsize=_KEPT_CONNECTIONS)


def _share_context(pool: Any) -> None:
    """Share one TLS context: urllib3 would load the certificates for every connection, in 20 ms of CPU each."""
    context = ssl_.create_urllib3_context(cert_reqs=ssl_.resolve_cert_reqs(pool.cert_reqs))
    if pool.ca_certs or pool.ca_cert_dir:
        context.load_verify_locations(pool.ca_certs, pool.ca_cert_dir)
    if pool.cert_file:
        context.load_cert_chain(pool.cert_file, pool.key_file, password="")
    pool.conn_kw["ssl_context"] = context
    pool.ca_certs = pool.ca_cert_dir = pool.cert_file = pool.key_file = None


def _content(answer: requests.Response, max_body: int) -> bytes:
    """The decoded body of an answer, bounded."""
    if answer.raw is None:  # made by hand, by an adapter of the user's
        return answer.content or b""
    body = bytearray()
    for piece in answer.iter_content(_PIECE_BYTES):
        body += piece
        if answer.status_code >= 300 and len(body) >= MOST_OF_AN_ERROR:
            break
        if len(body) > max_body:
            raise APIResponseError(
                f"The server sent a body of more than max_response_bytes={max_body} bytes.", may_have_run=True
            )
    return bytes(body)


def netrc_authorization(config: ClientConfig) -> str | None:
    """What requests would send from ~/.netrc; None without an entry."""
    found = requests.utils.get_netrc_auth(config.base_url)
    if not found:
        return None
    prepared = requests.Request("GET", config.base_url, auth=found).prepare()
    return str(prepared.headers["Authorization"])


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    return method, target, dict(line.split(": ", 1) for line in lines)


def _without_password(url: str | None) -> str:
    parts = urlsplit(url if url and "://" in url else f"http://{url}")
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
