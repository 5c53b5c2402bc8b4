"""Request guard for HTTP servers on a loopback interface: Host, Origin, content type and size, as aiohttp middleware.

Any page in a browser of this machine can send requests to 127.0.0.1, and read the answers once its own name resolves to
that address (DNS rebinding). The guard refuses both: such requests name the page's host, not the server's.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Self
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from attrs import field, frozen

from tinkex.config import is_loopback

#: Signature of an aiohttp route handler.
RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: Builds the response to a refused request from its status and the reason.
Refuse = Callable[[int, str], web.StreamResponse]

_NETWORK_LOCATION = re.compile(r"(\[[^][@]*\]|[^][@:]*)(:\d*)?")  # a host and a port, and no user
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


def _lowered(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


@frozen
class TrustedHosts:
    """Hosts by which a server may be addressed: the loopback names and addresses, and those that are listed.

    `names` are further host names, without ports; "*" stands for all of them. `addresses` says whether every IP address
    is trusted too, as for a server that listens beyond this machine: a page's own name never is an address.
    """

    names: frozenset[str] = field(default=frozenset(), converter=_lowered)
    addresses: bool = False

    @classmethod
    def listening_on(cls, address: str, names: Iterable[str] = ()) -> Self:
        """Hosts of a server that listens on *address*: beyond the loopback interface, also by address and that name."""
        beyond = not is_loopback(address)
        return cls([*names, address] if beyond else names, addresses=beyond)

    def trust_host(self, host: str) -> bool:
        """Whether a request with this Host header is meant for the server."""
        name = _host_name(f"//{host}")
        return name is not None and (self._lists(name) or "*" in self.names or (self.addresses and _is_address(name)))

    def trust_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this Origin may send requests to the server, which was addressed as *host*."""
        name = _host_name(origin)
        return name is not None and (self._lists(name) or name == _host_name(f"//{host}"))

    def _lists(self, name: str) -> bool:
        return is_loopback(name) or name in self.names


def make_guard(hosts: TrustedHosts, refuse: Refuse, max_bytes: int) -> Middleware:
    """Build the middleware; it belongs outermost, on an application with ``client_max_size=max_bytes``.

    It answers 403 to a Host or an Origin that is not trusted, 415 to a body that is not announced as plain JSON (which
    a page can send elsewhere only after asking) or is compressed, and 413 to one announced as larger than *max_bytes*.

    Args:
        hosts: The hosts by which the server may be addressed.
        refuse: Builds the response from the status and the reason.
        max_bytes: The largest body.
    """

    @web.middleware
    async def guard(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
        refused = refusal(request, hosts, max_bytes)
        return await handler(request) if refused is None else refuse(*refused)

    return guard


def key_is_known(key: str | None, known: Iterable[str]) -> bool:
    """Whether a key is one of those that are known, compared in constant time; an empty key never is."""
    digest = _digest(key or "")
    matches = [hmac.compare_digest(digest, _digest(each)) for each in known if each]
    return any(matches)


def refusal(request: web.Request, hosts: TrustedHosts, max_bytes: int) -> tuple[int, str] | None:
    """Return status and reason with which a request is refused, as by the middleware of `make_guard`; None if not."""
    host = ", ".join(request.headers.getall(hdrs.HOST, []))
    if not hosts.trust_host(host) or not hosts.trust_host(request.host):  # the target may be a whole URL
        return 403, "Host: this server does not answer to that name."
    if not all(hosts.trust_origin(origin, host) for origin in request.headers.getall(hdrs.ORIGIN, [])):
        return 403, "Origin: this server takes no requests from the pages of other hosts."
    if request.method in _WITHOUT_BODY:
        return None
    kind = request.headers.get(hdrs.CONTENT_TYPE, "")  # request.content_type would parse, and keep, its parameters
    if kind.partition(";")[0].strip().lower() != "application/json":
        return 415, "Content-Type: must be application/json."
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        return 415, "Content-Encoding: compressed bodies are not taken."
    if (request.content_length or 0) > max_bytes:
        return 413, f"The body is larger than {max_bytes:,} bytes."
    return None


@functools.lru_cache(64)
def _host_name(url: str) -> str | None:
    """The host name of a URL, in lower case; None where there is none, or more than a host and a port."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a ValueError where it is none
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or not _NETWORK_LOCATION.fullmatch(parts.netloc):
        return None
    return parts.hostname


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
