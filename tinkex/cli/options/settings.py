"""Effective settings: the value of each, where it comes from, and how secret ones are masked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import attrs

from tinkex._transport.dial import make_dialer
from tinkex.config import ACCESS_HEADERS, CA_VARIABLES, VARIABLES, ClientConfig, config_from_env
from tinkex.credentials import parse_claims, resolve_credential
from tinkex.errors import CredentialError

_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_COMMAND: Final = "TINKER_CREDENTIAL_CMD"
_SHOWN: Final = 4  # last characters of a key
_LONG: Final = 16  # characters of a key that can spare those


@attrs.frozen
class Setting:
    """Effective setting: its value as it may be shown, and where it comes from."""

    name: str
    value: Any
    source: str


def settings(base_url: str | None = None) -> list[Setting]:
    """Every setting of a client made now. Raises ValueError, TypeError where the environment holds a wrong one."""
    config = config_from_env(base_url=base_url)
    found = [_key(config)]
    for field in attrs.fields(ClientConfig):
        if field.name in ("api_key", "adapter", "retry"):
            continue
        value = getattr(config, field.name)
        found.append(Setting(field.name, _harmless(field.name, value), _source(field.name, value, base_url)))
    retry = attrs.asdict(config.retry)
    found += [Setting(f"retry.{name}", value, "default") for name, value in retry.items()]
    return [*found, _proxy(config)]


def key_source(config: ClientConfig, environ: Mapping[str, str] = os.environ) -> str:
    """Where the key comes from, as far as that can be said without running anything."""
    if config.api_key is not None:
        return "environment TINKER_API_KEY"
    if environ.get(_COMMAND, "").strip():
        return f"command {_COMMAND}"
    return "file ~/.tinker/credentials.json"


def masked(key: str) -> str:
    """Mask a key: enough of it stays to tell it from another.

    >>> masked("tml-0123456789abcdef"), masked("short")
    ('tml-…cdef', '…')
    """
    start = next((prefix for prefix in ("tml-", "eyJ") if key.startswith(prefix)), "")
    return f"{start}…{key[-_SHOWN:] if len(key) >= _LONG else ''}"


def expiry(key: str) -> datetime | None:
    """Expiry of a key that is a token; None for one that names none."""
    claims = parse_claims(key)
    if claims is None or claims.expires_at is None:
        return None
    try:
        return datetime.fromtimestamp(claims.expires_at, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def without_password(url: str) -> str:
    """Mask the user and the password of a URL, if it has any.

    >>> without_password("http://me:secret@proxy:3128")
    'http://…@proxy:3128'
    """
    if "@" not in url:
        return url
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return urlunsplit(parts._replace(netloc=f"…@{parts.netloc.rpartition('@')[2]}"))


def proxy_of(config: ClientConfig) -> str | None:
    """The proxy through which the server is reached; None where there is none."""
    dialer = make_dialer(attrs.evolve(config, verify=False, cert=None))  # no certificates are loaded for this
    try:
        return dialer.proxy
    finally:
        dialer.close()


def _key(config: ClientConfig) -> Setting:
    source = key_source(config)
    if source.startswith("command"):
        return Setting("api_key", "(the command is not run here)", source)
    try:
        key = resolve_credential(config, {name: value for name, value in os.environ.items() if name != _COMMAND})
    except CredentialError as error:
        return Setting("api_key", None, f"none: {error}")
    if key is None:
        return Setting("api_key", None, "none; this server may need none")
    ends = expiry(key)
    return Setting("api_key", masked(key) + (f" until {ends:%Y-%m-%d %H:%M} UTC" if ends else ""), source)


def _proxy(config: ClientConfig) -> Setting:
    """The proxy in use, which follows from several settings."""
    proxy = proxy_of(config)
    if proxy is None:
        return Setting("proxy in use", None, "default")
    names = [name for name in _PROXIES if os.environ.get(name, "").strip()]
    return Setting("proxy in use", without_password(proxy), f"environment {names[0]}" if names else "system settings")


def _harmless(name: str, value: Any) -> Any:
    if name == "default_headers":
        return dict.fromkeys(value, "…")
    if name == "proxies" and value is not None:
        return {scheme: without_password(url) for scheme, url in value.items()}
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else without_password(value) if isinstance(value, str) else value


def _source(name: str, value: Any, base_url: str | None) -> str:
    if name == "base_url" and base_url:
        return "argument --base-url"
    variable, _ = VARIABLES.get(name, ("", None))
    variables = {"verify": CA_VARIABLES, "default_headers": tuple(ACCESS_HEADERS.values()) if value else ()}.get(
        name, (variable,)
    )
    present = [each for each in variables if os.environ.get(each, "").strip()]
    if name == "default_headers":
        return f"environment {', '.join(present)}" if present else "default"
    return f"environment {present[0]}" if present else "default"
