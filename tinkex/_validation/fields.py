"""Validated attrs fields: one function for each kind of value; every message names the field."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import attrs

from tinkex._validation.arguments import check_count, check_seconds

Check = Callable[[Any, Any, Any], None]
"""Validator of attrs: called with the object, the field and its value."""

LONGEST = 1e9
"""Seconds; about 31 years. Longer finite durations overflow the timers of some platforms."""

_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"


def seconds(default: float, *, zero: bool = False, infinite: bool = False) -> Any:
    """Make a field for a duration: a float or an int, above 0 unless *zero*, and finite unless *infinite*."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        duration = check_seconds(attribute.name, value, zero=zero)
        if duration > LONGEST and not (infinite and math.isinf(duration)):
            raise ValueError(f"{attribute.name} must be at most {LONGEST:g} seconds, not {value}")

    return attrs.field(default=default, converter=_float, validator=check)


def count(default: object, minimum: int = 1) -> Any:
    """Make a field for an int of at least *minimum*; bool is not an int here."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        check_count(attribute.name, value, minimum, "an int")

    return attrs.field(default=default, validator=check)


def flag(*, default: bool) -> Any:
    """Make a field for True or False, and nothing that merely looks like them."""
    return attrs.field(default=default, validator=instance_of(bool))


def choice(default: str, *others: str) -> Any:
    """Make a field for one of a few words (an enumeration of strings)."""
    words = (default, *others)

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in words:
            raise ValueError(f"{attribute.name} must be one of {', '.join(map(repr, words))}")

    return attrs.field(default=default, validator=check)


def mapping(check: Check, *, repr: bool = True, optional: bool = False) -> Any:
    """Make a field for a mapping with text keys; a read-only copy is kept, and *check* sees it."""
    checks = [_text_keys, check]
    return attrs.field(
        default=None if optional else MappingProxyType({}),
        converter=_read_only,
        validator=attrs.validators.optional(checks) if optional else checks,
        repr=repr,
    )


def instance_of(*kinds: type) -> Check:
    """Make a check for the type of a value."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds):
            wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            raise TypeError(f"{attribute.name} must be {wanted}, not {type(value).__name__}")

    return check


def check_header_text(name: str, value: object) -> None:
    """Refuse what cannot be sent as the value of a header, without repeating it: it may be a secret."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")
    if value != value.strip() or not value.isprintable() or any(ord(letter) > 255 for letter in value):
        raise ValueError(f"{name} must be printable Latin-1 text on one line, with no space around it")


def check_headers(_: object, attribute: attrs.Attribute[Any], headers: Mapping[str, object]) -> None:
    """Refuse a header whose name or value could not be sent, or would smuggle in another one."""
    for name, value in headers.items():
        if not re.fullmatch(_HEADER_NAME, name):
            raise ValueError(f"{attribute.name}: {name!r} is not a header name")
        check_header_text(f"{attribute.name}[{name!r}]", value)


def check_tags(_: object, attribute: attrs.Attribute[Any], tags: tuple[object, ...]) -> None:
    """Refuse anything but a tuple of text."""
    if not isinstance(tags, tuple) or not all(isinstance(tag, str) for tag in tags):
        raise TypeError(f"{attribute.name} must be a sequence of text, and not text itself")


def check_json(_: object, attribute: attrs.Attribute[Any], value: Mapping[str, object]) -> None:
    """Refuse what JSON cannot hold."""
    try:
        json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{attribute.name} must be what JSON can hold: {error}") from None


def check_proxies(_: object, attribute: attrs.Attribute[Any], proxies: Mapping[str, object]) -> None:
    """Refuse proxies that are no URLs of one, without repeating one: it may hold a password."""
    for key, proxy in proxies.items():
        if not isinstance(proxy, str):
            raise TypeError(f"{attribute.name}[{key!r}] must be text, not {type(proxy).__name__}")
        if proxy and key.lower() != "no_proxy":
            check_proxy(f"{attribute.name}[{key!r}]", proxy)


def check_proxy(name: str, proxy: str) -> None:
    """Refuse what is not the URL of a proxy, or its host and port, without repeating it."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = (
            parts.scheme in _PROXY_SCHEMES
            and parts.hostname
            and parts.port != 0
            and proxy.isprintable()
            and " " not in proxy
        )
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{name} is not the URL of a proxy, such as http://host:port")


def check_cert(_: object, attribute: attrs.Attribute[Any], cert: object) -> None:
    """Refuse anything but a path, a pair of paths or None."""
    paths = cert if isinstance(cert, tuple) and len(cert) == 2 else (cert,)
    if cert is not None and not all(isinstance(path, str) and path for path in paths):
        raise TypeError(f"{attribute.name} must be a path, or a pair of paths: certificate and key")


def check_verify(_: object, attribute: attrs.Attribute[Any], verify: object) -> None:
    """Refuse anything but a switch or a path."""
    if not isinstance(verify, bool) and not (isinstance(verify, str) and verify):
        raise TypeError(f"{attribute.name} must be True, False or the path of a CA bundle")


def check_adapter(_: object, attribute: attrs.Attribute[Any], adapter: object) -> None:
    """Refuse what could not send anything."""
    if adapter is not None and not callable(getattr(adapter, "send", None)):
        raise TypeError(f"{attribute.name} must be a requests adapter, not {type(adapter).__name__}")


def check_base_url(_: object, attribute: attrs.Attribute[Any], base_url: object) -> None:
    """Refuse what is not a plain web address, without repeating it: it may hold a password."""
    if not isinstance(base_url, str):
        raise TypeError(f"{attribute.name} must be text, not {type(base_url).__name__}")
    if not base_url.isprintable() or " " in base_url or "\\" in base_url:
        raise ValueError(f"{attribute.name} must hold no space, backslash or control character")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{attribute.name} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f"{attribute.name} must start with http:// or https:// and a host")
    if parts.username is not None or "?" in base_url or "#" in base_url:
        raise ValueError(f"{attribute.name} must be a plain address: no user, password, query or fragment")
    if parts.path.endswith("/api/v1"):
        raise ValueError(f"{attribute.name} must not end with /api/v1: leave that out, every request adds it")


def clean_url(value: object) -> object:
    """Strip the space around a URL and the slashes at its end."""
    return value.strip().rstrip("/") if isinstance(value, str) else value


def clean_key(value: object) -> object:
    """Strip the space around a key; an empty one is None."""
    return value.strip() or None if isinstance(value, str) else value


def as_tuple(value: object) -> object:
    """Copy a collection; anything else is left for the check to judge."""
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else value


def _float(value: object) -> object:
    """Ints become floats; anything else is left for the check to judge."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    with contextlib.suppress(OverflowError):
        return float(value)
    return value


def _read_only(value: object) -> object:
    return MappingProxyType(dict(value)) if isinstance(value, Mapping) else value


def _text_keys(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{attribute.name} must be a mapping, not {type(value).__name__}")
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{attribute.name} must have text keys, not {type(key).__name__}")
