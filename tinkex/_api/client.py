"""API client: one call of an endpoint with its headers and credential, and calls that are retried."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urljoin, urlsplit

from tinkex import _wire
from tinkex._api.auth import Auth
from tinkex._api.endpoints import AUTH_TOKEN, Endpoint
from tinkex._api.redaction import header_secrets, mask, redact, url_secrets
from tinkex._api.responses import Refusal, decode_object, ends_long_poll, read_refusal
from tinkex._api.retry import RetryBudget
from tinkex._concurrency.clock import Clock
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._identity import PROTOCOL_VERSION, USER_AGENT, random_uuid
from tinkex._runtime.task import Coroutine, Scheduler, Sleep
from tinkex._transport.exchange import Transport
from tinkex._transport.http11 import Response, request_head
from tinkex.config import ClientConfig, is_official
from tinkex.errors import APIConnectionError, APIError, APIResponseError, APIStatusError, APITimeoutError, clean_text

E = TypeVar("E", bound=APIError)
P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger("tinkex")

_GROWTH = 8  # as lists of numbers JSON takes five to seven times the memory of its text, as others up to thirty
_MOST_SECRETS = 100  # of headers that were replaced
_GONE = frozenset({502, 503, 504})  # what gateways say of a server that is not there
_ALIVE_SECONDS = 30.0  # after an answer: three heartbeats
_REDIRECTS = frozenset({307, 308})  # the same request, elsewhere


def _check_growth(response: Response, max_bytes: int) -> None:
    """Raise APIResponseError for JSON whose objects would take more than eight times `max_bytes` of memory."""
    if len(response.body) * _wire.MOST_JSON_GROWTH <= _GROWTH * max_bytes:
        return
    if "protobuf" in response.headers.get("content-type", "") or response.status >= 300:
        return
    if _wire.json_object_bytes(response.body) > _GROWTH * max_bytes:
        raise APIResponseError(
            f"The server sent JSON that takes more than {_GROWTH} times max_response_bytes={max_bytes} in memory.",
            may_have_run=True,
        )


class Api:
    """Client of one server's endpoints. Safe to share; every call belongs to the task that makes it."""

    def __init__(
        self, transport: Transport, auth: Auth, scheduler: Scheduler, clock: Clock, config: SnapshotCell[ClientConfig]
    ) -> None:
        self._transport = transport
        self.auth = auth
        self.scheduler = scheduler
        self.clock = clock
        self.config = config
        base_url = config.current.base_url
        self._url = urlsplit(base_url)
        self._host = self._url.netloc.rpartition("@")[2]
        self._official = is_official(base_url)
        self._keys = itertools.count()
        self._key_stem = f"tinkex-{random_uuid()}"
        self.last_failure: str = ""  # of any call that must succeed, in words
        self.reached: bool = False  # whether the server has ever answered
        self._gone_at = float("-inf")  # when it was last said, or found out, that the server is not there
        self._heard_at = float("-inf")  # when it last answered, and no gateway for it
        self.knows_no_metadata = False  # the server refuses `allow_metadata_only`
        self._secrets_of: tuple[Mapping[str, str] | None, tuple[str, ...]] = (None, ())  # and the headers they are of
        self._heads: dict[tuple[str, str, int], tuple[Mapping[str, str], str | None, bytes]] = {}

    @property
    def lost_at(self) -> float:
        """When the server was last found gone, as it is in a restart; minus infinity for never."""
        return max(self._gone_at, self._transport.lost_at)

    def is_cut(self, error: APIError, asked_at: float) -> bool:
        """Whether a poll, asked at that time, failed only because it was held: by a timeout of ours or of a gateway."""
        now = self.clock.monotonic()
        return ends_long_poll(error, now - asked_at, now - self._heard_at <= _ALIVE_SECONDS)

    def call(
        self,
        endpoint: Endpoint,
        body: bytes,
        config: ClientConfig,
        *,
        seconds: float,
        retry_count: int = 0,
        extra: str = "",
        high_priority: bool = True,
        fresh: bool = False,
    ) -> Coroutine[Response]:
        """Make one request and return its response, of any status; replayed once where the server rejects a token.

        `fresh` asks for a connection that carried nothing before.
        Raises APIConnectionError, APITimeoutError, APIResponseError, CredentialError.
        """
        own = self._own_lines(endpoint, body, retry_count, extra)
        del extra
        renewed, line = False, b""
        while True:
            credential = yield from self.auth.credential(self._exchange_key, raw=endpoint.raw)
            head = self._head(endpoint, config, seconds, credential)
            if line:
                head = line + head[head.index(b"\r\n") :]
            try:
                response = yield from self._transport.exchange(
                    head,
                    own,
                    body,
                    seconds=seconds,
                    max_body=config.max_response_bytes,
                    pace=endpoint.pace,
                    high_priority=high_priority,
                    fresh=fresh,
                )
            except APIError as error:
                if isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError):
                    self._gone_at = self.clock.monotonic()
                raise self.cleaned(error) from None
            self.reached = True
            if response.status in _GONE:
                self._gone_at = self.clock.monotonic()
            elif response.status < 500:
                self._heard_at = self.clock.monotonic()
            _check_growth(response, config.max_response_bytes)
            if response.status >= 300:
                redact(response, (credential, *self._header_secrets(config)))
            if response.status in _REDIRECTS and not line and (line := self._new_line(endpoint, response)):
                continue
            may_renew = response.status == 401 and not renewed and not endpoint.raw
            if not may_renew or not self.auth.may_renew(response.headers):
                return self._noted(response)
            renewed = True
            yield from self.auth.renew(self._exchange_key, credential, refused=True)

    def persist(
        self, endpoint: Endpoint, body: bytes, config: ClientConfig, *, seconds: float | None = None
    ) -> Coroutine[Response]:
        """Retried call: `call` until it gives a 2xx, as often as `config.retry` allows; raises the last error.

        A server that has never answered is given `config.reach_timeout` seconds.
        """
        budget, begun_at = RetryBudget(config.retry, self.clock), self.clock.monotonic()
        seconds = config.request_timeout if seconds is None else seconds
        while True:
            try:
                response = yield from self.call(endpoint, body, config, seconds=seconds, retry_count=budget.failures)
                if 200 <= response.status < 300:
                    return response
                raise self.refusal(response).error
            except (APIConnectionError, APIStatusError) as error:
                self.last_failure = str(error)
                delay = budget.delay(error)
                until = self.clock.monotonic() + delay
                if not self.reached and isinstance(error, APIConnectionError):
                    self._check_reach(error, until - begun_at, config.reach_timeout)
                level = logging.WARNING if budget.failures == 1 else logging.INFO
                logger.log(level, "The call of %s is repeated in %.1f s, and again for up to %.0f s, after: %s",
                           endpoint.path, delay, config.retry.max_elapsed, error,
                           extra={"endpoint": endpoint.path, "delay": delay, "failure": str(error)})  # fmt: skip
            yield Sleep(until)

    def _check_reach(self, error: APIConnectionError, seconds: float, reach_timeout: float) -> None:
        """Raise an error that says the server was never reached, where trying on for `seconds` would be too long."""
        if error.retryable and seconds <= reach_timeout:
            return
        where = f"{self._url.scheme}://{self._host}"
        slow = f" If it is only slow to start, raise reach_timeout={reach_timeout:g}." if error.retryable else ""
        final = type(error)(
            f"The server at {where} has never answered. {error.message}{slow}", may_have_run=error.may_have_run
        )
        final.retryable = error.retryable
        raise final from None

    def ask(self, endpoint: Endpoint, fields: Mapping[str, Any], config: ClientConfig) -> Coroutine[dict[str, Any]]:
        """Retried JSON call: `persist` with an object each way; raises APIResponseError where the answer is none."""
        body = b"" if endpoint.method == "GET" else _wire.encode_json(fields)
        response = yield from self.persist(endpoint, body, config)
        return self.read(response, decode_object, response)

    def read(self, response: Response, decode: Callable[P, T], *content: P.args, **options: P.kwargs) -> T:
        """What `decode` makes of the content of a response.

        One that cannot be read may be what came behind the answer to an earlier request over its connection, which its
        own answer is still to come over: connections at rest are closed.
        """
        try:
            return decode(*content, **options)
        except APIResponseError:
            if response.reused:
                self._transport.pool.close_kept()
            raise

    def keep_token_fresh(self) -> Coroutine[None]:
        """Refresh the token in the background."""
        return self.auth.keep_fresh(self._exchange_key)

    def _exchange_key(self, config: ClientConfig) -> Coroutine[dict[str, Any]]:
        return self.ask(AUTH_TOKEN, {}, config)

    def refusal(self, response: Response, *, request_id: str | None = None, phase: str | None = None) -> Refusal:
        """What an answer other than a 2xx says, and the error that it stands for."""
        return read_refusal(response, self.clock, request_id=request_id, phase=phase)

    def _new_line(self, endpoint: Endpoint, response: Response) -> bytes:
        """The request line for where a redirect leads; empty where that is another server."""
        here, location = self._url, response.headers.get("location", "")
        there = urlsplit(urljoin(f"{here.geturl()}/api/v1/{endpoint.path}", location))
        target = there._replace(scheme="", netloc="", fragment="").geturl()
        if (there.scheme, there.netloc) != (here.scheme, here.netloc) or not target.isascii() or " " in target:
            return b""
        return f"{endpoint.method} {self._transport.dialer.target(target)} HTTP/1.1".encode()

    def cleaned(self, error: E) -> E:
        """The error without credentials in what it quotes, and without its causes, which quote the server, too."""
        error.message = self.masked(error.message)
        error.args = (error.message,)
        error.__cause__ = error.__context__ = None
        return error

    def masked(self, text: str) -> str:
        """The server's words, without the credentials that it may have repeated in them."""
        return mask(self.auth.masked(text), self._header_secrets(self.config.current))

    def _header_secrets(self, config: ClientConfig) -> tuple[str, ...]:
        """What is secret in the headers that are, or were, sent beside the credential; the longest first."""
        headers, secrets = self._secrets_of
        if headers is not config.default_headers:
            dialer = self._transport.dialer
            fields = [*config.default_headers.items(), *dialer.proxy_headers]
            fields += [("Authorization", dialer.authorization)] if dialer.authorization else []
            found = {*header_secrets(fields), *url_secrets(dialer.proxy), *secrets[:_MOST_SECRETS]}
            secrets = tuple(sorted(found, key=len, reverse=True))
            self._secrets_of = (config.default_headers, secrets)
        return secrets

    def _head(self, endpoint: Endpoint, config: ClientConfig, seconds: float, credential: str | None) -> bytes:
        """The part of the head that many calls share, most of which wait for long."""
        key = (endpoint.path, endpoint.accept, int(seconds * 1000))
        cached = self._heads.get(key)
        if cached is not None and cached[0] is config.default_headers and cached[1] == credential:
            return cached[2]
        fields = {
            "Host": self._host,
            "User-Agent": USER_AGENT,
            "Accept": endpoint.accept,
            "Accept-Encoding": "gzip, deflate",
            "x-stainless-read-timeout": f"{seconds:g}",
            "x-sdk-version": PROTOCOL_VERSION,
            **dict(endpoint.extra),
        }
        if endpoint.method != "GET":
            fields["Content-Type"] = "application/json"
        if not self._official:  # some open servers refuse a request without one, and route by it
            fields["X-Request-Id"] = fields["X-Ray-Serve-Request-Id"] = self._key_stem
        self._header_secrets(config)  # noted now: they may be quoted when other headers have replaced these
        overridden = {name.lower() for name in config.default_headers}
        kept = [(name, value) for name, value in fields.items() if name.lower() not in overridden]
        dialer = self._transport.dialer
        kept += [*config.default_headers.items(), *dialer.proxy_headers]
        if dialer.authorization:
            kept.append(("Authorization", dialer.authorization))
        if credential is not None:
            kept.append(("X-API-Key", credential))
        head = request_head(endpoint.method, dialer.target(f"{self._url.path}/api/v1/{endpoint.path}"), kept)
        if len(self._heads) > 256:
            self._heads.clear()
        self._heads[key] = (config.default_headers, credential, head)
        return head

    def _own_lines(self, endpoint: Endpoint, body: bytes, retry_count: int, extra: str) -> bytes:
        """The part of the head that is this call's alone."""
        if endpoint.method != "GET":
            extra += f"Content-Length: {len(body)}\r\nX-Idempotency-Key: {self._key_stem}-{next(self._keys)}\r\n"
            extra += f"x-stainless-retry-count: {retry_count}\r\n"
        return extra.encode("latin-1")

    def _noted(self, response: Response) -> Response:
        note = response.headers.get("x-deprecation-note")
        if note:
            grave = response.headers.get("x-deprecation-level", "").lower() == "error"
            words = clean_text(self.masked(note), 500)
            logger.log(logging.ERROR if grave else logging.WARNING, "The server says: %s", words)
        return response
