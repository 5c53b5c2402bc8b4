"""Client configuration: immutable settings, and the only place that reads them from the environment."""

from __future__ import annotations

import math
import os
import resource
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import attrs

from tinkex._validation import fields
from tinkex._validation.calls import unexpected, with_explained_init
from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import shown
from tinkex.errors import CredentialError
from tinkex.errors._frames import frameless

OFFICIAL_BASE_URL = "https://tinker.thinkingmachines.dev/services/tinker-prod"
_OFFICIAL_DOMAIN = "thinkingmachines.dev"
_KEY_PREFIXES = ("tml-", "eyJ")
ACCESS_HEADERS = {
    "CF-Access-Client-Id": "CLOUDFLARE_ACCESS_CLIENT_ID",
    "CF-Access-Client-Secret": "CLOUDFLARE_ACCESS_CLIENT_SECRET",
}
"""Headers of Cloudflare Access, and the environment variables that hold them."""
_ON = frozenset({"1", "true", "yes", "on"})
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""The environment variables that may name a CA bundle; the first that is set counts."""


@with_explained_init
@with_field_docs
@attrs.frozen(eq=False, repr=False)
class RetryConfig(Fieldwise):
    """Retry policy: how often, and for how long, a failed request is tried again.

    Both limits count from the first failure; pauses the server asks for count towards neither.

    >>> RetryConfig(max_attempts=3).max_delay
    10.0
    """

    max_attempts: int = fields.count(20)
    """Attempts in all, the first one included; 1 means no retry."""
    max_elapsed: float = fields.seconds(900.0, zero=True, infinite=True)
    """Seconds from the first failure after which there is no further attempt."""
    base_delay: float = fields.seconds(0.5, zero=True)
    """Seconds before the second attempt; doubled for each one after it."""
    max_delay: float = fields.seconds(10.0, zero=True)
    """Seconds that a delay never exceeds."""
    jitter: float = attrs.field(default=0.25)
    """The share of a delay, from 0 to 1, by which chance makes it longer or shorter."""

    @jitter.validator
    def _check_jitter(self, _: object, value: object) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"jitter must be a number, not {type(value).__name__}")
        if not 0 <= value <= 1:
            raise ValueError(f"jitter must be from 0 to 1, not {shown(value)}")

    def __attrs_post_init__(self) -> None:
        if self.max_delay < self.base_delay:
            raise ValueError(f"max_delay must be at least base_delay, {self.base_delay}, not {self.max_delay}")


def _most_connections() -> int:
    """Half of the files this process may open, so that the program keeps the other half."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if soft < 0 else max(1, min(4096, soft // 2))


@with_explained_init
@with_field_docs
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClientConfig(Fieldwise):
    """Client configuration: every setting, as an immutable snapshot. Safe to share between threads.

    Values are checked when it is made: `TypeError` or `ValueError` names the field. Sizes are bytes, times are seconds.
    Neither `repr()` nor a pickle holds the key, the headers or the proxies, which may all be secret.

    >>> ClientConfig(base_url="http://localhost:8000/", timeout=60).base_url
    'http://localhost:8000'
    >>> ClientConfig(workers=0)
    Traceback (most recent call last):
    ...
    ValueError: workers must be at least 1, not 0
    """

    api_key: str | None = attrs.field(default=None, repr=False, converter=fields.clean_key)
    """The credential. None: the chain of `tinkex.credentials`; servers other than the official one may need none."""
    base_url: str = attrs.field(default=OFFICIAL_BASE_URL, converter=fields.clean_url, validator=fields.check_base_url)
    """Where the server is, with its path prefix and without /api/v1."""
    timeout: float = fields.seconds(7200.0, infinite=True)
    """Deadline of a sample from call to result, in seconds; `float("inf")` for none."""
    connect_timeout: float = fields.seconds(5.0)
    """Seconds to wait for a connection, for each address of the host."""
    reach_timeout: float = fields.seconds(15.0, zero=True, infinite=True)
    """Seconds to try a server that has never answered, before the error; after its first answer *retry* decides."""
    request_timeout: float = fields.seconds(60.0)
    """Seconds to wait for the answer to a request other than a poll."""
    poll_timeout: float = fields.seconds(45.0)
    """Seconds after which a poll that the server holds open is given up and made again."""
    workers: int = fields.count(8)
    """The most threads that send, read and decode; a sample holds none while the server thinks."""
    callback_workers: int = fields.count(32)
    """The most threads that run callbacks and observers."""
    max_in_flight: int = fields.count(10_000)
    """Samples sent and not ended, at most; the server may ask for less."""
    max_queued: int = fields.count(100_000)
    """Samples waiting to be sent, at most; see *on_full*."""
    on_full: str = fields.choice("block", "raise")
    """What `sample()` does when the queue is full: "block", or "raise" `QueueFullError`."""
    max_connections: int = fields.count(attrs.Factory(_most_connections))
    """Connections, at most; by default half of the open files allowed, and not over 4,096."""
    max_idle_connections: int = fields.count(64, minimum=0)
    """Connections kept for reuse, at most."""
    max_response_bytes: int = fields.count(256 * 2**20)
    """The largest body that is read, after decompression."""
    inflight_response_bytes: int = fields.count(50 * 2**20)
    """Bytes of results being fetched and decoded at once; a single larger one passes alone."""
    min_poll_interval: float = fields.seconds(0.25, zero=True)
    """Seconds between two polls for a sample, at least, where the server answers at once."""
    on_rate_limit: str = fields.choice("wait", "raise")
    """What a 429 does to a sample: "wait" as long as asked, or "raise" `RateLimitError`."""
    billing_wait: float = fields.seconds(60.0, zero=True, infinite=True)
    """Seconds to sit out a 402, at most; the server and the deadline may allow less."""
    proxies: Mapping[str, str] | None = fields.mapping(fields.check_proxies, repr=False, optional=True)
    """Proxies by scheme, as requests takes them. None: from the environment, where *trust_env* allows, and never for
    a server on this machine (``localhost``, ``127.0.0.1``, ``::1`` and their kind)."""
    trust_env: bool = fields.flag(default=True)
    """Whether proxies and CA bundles are read from the environment, once, when the client is made."""
    verify: bool | str = attrs.field(default=True, validator=fields.check_verify)
    """Whether certificates are verified, or the path of the CA bundle to verify them with."""
    cert: str | tuple[str, str] | None = attrs.field(default=None, validator=fields.check_cert)
    """The client's certificate: one file, or certificate and key. None: none is shown."""
    adapter: Any = attrs.field(default=None, validator=fields.check_adapter)
    """A requests adapter through which everything is sent. None: tinkex's own connections."""
    default_headers: Mapping[str, str] = fields.mapping(fields.check_headers, repr=False)
    """Headers sent with every request, over those of the client."""
    telemetry: bool = fields.flag(default=True)
    """Whether the server is told about failures of the client; never prompts, headers or keys."""
    tags: tuple[str, ...] = attrs.field(default=(), converter=fields.as_tuple, validator=fields.check_tags)
    """Words the session is filed under."""
    user_metadata: Mapping[str, object] = fields.mapping(fields.check_json)
    """What the session should remember, as JSON."""
    project_id: str | None = attrs.field(default=None, validator=fields.instance_of(str, type(None)))
    """The project the session belongs to. None: the account's default."""
    display_name: str | None = attrs.field(default=None, validator=fields.instance_of(str, type(None)))
    """The session's name in the console. None: it has none."""
    queue_log_interval: float = fields.seconds(60.0, zero=True, infinite=True)
    """Seconds between two log lines about the queue of one session, at least."""
    retry: RetryConfig = attrs.field(factory=RetryConfig, validator=fields.instance_of(RetryConfig))
    """How failures are retried."""

    RECONFIGURABLE: ClassVar[frozenset[str]] = frozenset({
        "api_key", "timeout", "connect_timeout", "reach_timeout", "request_timeout", "poll_timeout", "max_in_flight",
        "max_queued", "on_full", "max_response_bytes", "inflight_response_bytes", "min_poll_interval", "on_rate_limit",
        "billing_wait", "default_headers", "telemetry", "queue_log_interval", "retry",
    })  # fmt: skip
    """The settings that `ServiceClient.reconfigure()` may change."""

    def __attrs_post_init__(self) -> None:
        if self.api_key is not None:
            fields.check_header_text("api_key", self.api_key)
            if not _suits(self.api_key, self):
                raise CredentialError(
                    "api_key (or TINKER_API_KEY) must start with 'tml-' or 'eyJ' for the official server:"
                    " pass the key that its console shows."
                )

    def without_secrets(self) -> ClientConfig:
        """Return a copy that has no key, headers or proxies."""
        return attrs.evolve(self, api_key=None, default_headers={}, proxies=None)

    def __reduce__(self) -> tuple[Any, ...]:
        public = attrs.asdict(self.without_secrets(), recurse=False)
        public["default_headers"], public["user_metadata"] = {}, dict(self.user_metadata)
        return _restored, (public,)

    def __copy__(self) -> ClientConfig:
        return self

    def __deepcopy__(self, _: object) -> ClientConfig:
        return self


def _restored(fields: dict[str, Any]) -> ClientConfig:
    return ClientConfig(**fields)


def is_official(base_url: str) -> bool:
    """Tell whether *base_url* is on the official host, whose rules for keys are known."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    return host == _OFFICIAL_DOMAIN or host.endswith("." + _OFFICIAL_DOMAIN)


ClientConfig.__init__ = frameless(ClientConfig.__init__)  # type: ignore[method-assign]  # its arguments are secret


def validate_changes(changes: Mapping[str, object]) -> None:
    """Check what `reconfigure()` was given: `TypeError` or `ValueError` names the first field that is wrong.

    Whether the key suits the server is checked when the changes are applied.
    """
    known = attrs.fields_dict(ClientConfig)
    for name in changes:
        if name not in known:
            raise unexpected("reconfigure", name, ClientConfig.RECONFIGURABLE, {})
        if name not in ClientConfig.RECONFIGURABLE:
            raise ValueError(f"{name} cannot change during the life of a client: make a new one")
    ClientConfig(base_url="http://localhost", **changes)  # type: ignore[arg-type]


@frameless
def config_from_env(
    environ: Mapping[str, str] = os.environ, *, base: ClientConfig | None = None, **arguments: Any
) -> ClientConfig:
    """Put a configuration together: arguments over *base* over the environment over the defaults.

    An argument that is None or empty text, an empty variable, and a field of *base* that is at its default count as not
    given. Nothing is read but *environ*: commands and files are for `tinkex.credentials`.

    Raises:
        TypeError, ValueError: a value cannot be used; the text names the field or the variable.

    >>> config_from_env({"TINKER_BASE_URL": "http://localhost:8000/"}, workers=2).base_url
    'http://localhost:8000'
    """
    given = {name: value for name, value in arguments.items() if value is not None and value != ""}
    chosen = {**_from_base(base), **given}
    values = {**_from_variables(environ, chosen), **chosen}
    values["default_headers"] = _with_access_headers(environ, values.get("default_headers", {}))
    api_key = values.pop("api_key", None)
    config = ClientConfig(**values)
    if api_key is not None and (
        "api_key" in chosen or not environ.get("TINKER_CREDENTIAL_CMD") or _suits(api_key, config)
    ):
        config = attrs.evolve(config, api_key=api_key)
    address = urlsplit(config.base_url)
    if address.scheme == "http" and not is_loopback(address.hostname or ""):
        warnings.warn("base_url is plain http to another machine: keys and prompts can be read", UserWarning, 3)
    return config


@frameless
def direct_config(
    base_url: str,
    config: ClientConfig | None = None,
    api_key: str = "tml-local",
    environ: Mapping[str, str] = os.environ,
) -> ClientConfig:
    """Put a configuration together for a server on this machine that the program itself has started.

    What `config` and the environment say of another server is left out: its address, key, headers, proxies and netrc
    entry. The rest is as for any other.
    """
    known = {name: environ[name] for name, _ in VARIABLES.values() if name in environ}
    for name in _OF_A_SERVER:
        known.pop(name, None)
    base = attrs.evolve(
        config or ClientConfig(), base_url=base_url, api_key=api_key, default_headers={}, proxies=None, trust_env=False
    )  # fmt: skip
    return config_from_env(known, base=base)


def _is_on(text: str) -> bool:
    return text.strip().lower() in _ON


def _split(text: str) -> tuple[str, ...]:
    return tuple(tag for part in text.split(",") if (tag := part.strip()))


def parse_seconds(text: str) -> float:
    """Parse a duration; "inf" is endless, a number beyond what a float holds is an error."""
    seconds = float(text)
    if math.isinf(seconds) and any(letter.isdigit() for letter in text):
        raise ValueError(f"{text} is out of range")
    return seconds


VARIABLES: dict[str, tuple[str, Callable[[str], object]]] = {
    "api_key": ("TINKER_API_KEY", str),
    "base_url": ("TINKER_BASE_URL", str),
    "timeout": ("TINKEX_TIMEOUT", parse_seconds),
    "workers": ("TINKEX_WORKERS", int),
    "telemetry": ("TINKER_TELEMETRY", _is_on),
    "tags": ("TINKER_TAGS", _split),
    "project_id": ("TINKER_PROJECT_ID", str),
}
_OF_A_SERVER = ("TINKER_API_KEY", "TINKER_BASE_URL", "TINKER_PROJECT_ID")
"""The environment variable of each setting that has one, and how its text is read."""


def _from_base(base: ClientConfig | None) -> dict[str, Any]:
    """The fields of `base` that differ from the defaults."""
    if base is None:
        return {}
    if not isinstance(base, ClientConfig):
        raise TypeError(f"config must be a ClientConfig, not {type(base).__name__}")
    plain = ClientConfig()
    names = (field.name for field in attrs.fields(ClientConfig))
    return {name: value for name in names if (value := getattr(base, name)) != getattr(plain, name)}


def _from_variables(environ: Mapping[str, str], chosen: Mapping[str, object]) -> dict[str, Any]:
    """Read from the environment the fields that were not given."""
    values: dict[str, Any] = {}
    for name, (variable, parse) in VARIABLES.items():
        text = environ.get(variable, "").strip()
        if text and name not in chosen:
            values[name] = _parsed(name, variable, parse, text)
    if chosen.get("trust_env", True) and "verify" not in chosen:
        bundles = filter(None, map(environ.get, CA_VARIABLES))
        values["verify"] = next(bundles, True)
    return values


def _parsed(name: str, variable: str, parse: Callable[[str], object], text: str) -> object:
    """Parse and check one variable on its own, so that a complaint can name it."""
    try:
        value = parse(text)
        check = attrs.fields_dict(ClientConfig)[name].validator
        if check is not None:
            check(None, attrs.fields_dict(ClientConfig)[name], value)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None
    return value


def _with_access_headers(environ: Mapping[str, str], headers: Any) -> Any:
    """Add the two headers of Cloudflare Access where both are known; the caller's own win."""
    access = {header: environ.get(variable, "").strip() for header, variable in ACCESS_HEADERS.items()}
    if not isinstance(headers, Mapping) or not all(access.values()):
        return headers
    named = {str(name).lower() for name in headers}
    return {**{name: value for name, value in access.items() if name.lower() not in named}, **headers}


def _suits(api_key: str, config: ClientConfig) -> bool:
    return not is_official(config.base_url) or api_key.startswith(_KEY_PREFIXES)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or address."""
    if host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost"):
        return True
    import ipaddress  # slow to import, for the few names that are none of these

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def heeds_proxy_variables(config: ClientConfig) -> bool:
    """Tell whether the environment's proxies are meant for the server: not for one on this machine."""
    return config.trust_env and not is_loopback(urlsplit(config.base_url).hostname or "")
