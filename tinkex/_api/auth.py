"""Authentication: the credential of each request, which is the key itself or a token that the server gave for it."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from tinkex._api import limits
from tinkex._api.redaction import mask
from tinkex._concurrency.clock import Clock
from tinkex._concurrency.elastic_pool import ElasticPool
from tinkex._concurrency.fork_locks import new_lock
from tinkex._concurrency.jitter import uniform
from tinkex._concurrency.snapshot import SnapshotCell
from tinkex._runtime.task import Coroutine, FutureWait, RunInThread, Scheduler, Sleep
from tinkex.config import ClientConfig
from tinkex.credentials import parse_claims, resolve_credential
from tinkex.errors import APIResponseError

logger = logging.getLogger("tinkex")

_IS_INVALID = r'(?i)error\s*=\s*"?invalid_token'
_REFRESH_SHARE = (0.45, 0.55)
_REFRESH_BEFORE_END = 60.0
_REFRESH_RETRY = 60.0
_REFRESH_PAUSE = 5.0  # after a failure, while the token is in its last minute
_FOREVER = float("inf")

Exchange = Callable[[ClientConfig], Coroutine[dict[str, Any]]]
"""Token exchange: a call that sends the key itself, and is answered with a token."""


class _Token:
    """Exchanged token, and when it expires on the monotonic clock.

    It has just been given, so it is good for as long as it says itself, even if our date is wrong.
    """

    def __init__(self, text: str, clock: Clock) -> None:
        self.text = text
        claims = parse_claims(text)
        ends, made = (claims.expires_at, claims.issued_at) if claims else (None, None)
        left = _FOREVER if ends is None else ends - clock.wall()
        life = left if ends is None or made is None else ends - made
        left = next((seconds for seconds in (min(left, life), life) if seconds > 0), _FOREVER)
        left = left if left == _FOREVER else limits.TOKEN_LIFE.apply(left)
        self.ends_at = clock.monotonic() + left
        self.renew_at = self.ends_at - min(_REFRESH_BEFORE_END, left / 2)
        self.refresh_after = None if left == _FOREVER else left * uniform(*_REFRESH_SHARE)


class Auth:
    """Credential of one service, renewed in single flight: tasks that need a new one share one exchange.

    The key is read from the current configuration for every request, so that one that was rotated is used at once.
    """

    def __init__(
        self, scheduler: Scheduler, threads: ElasticPool, clock: Clock, config: SnapshotCell[ClientConfig]
    ) -> None:
        self._scheduler = scheduler
        self._threads = threads
        self._clock = clock
        self._config = config
        self._lock = new_lock()  # guards _renewing
        self._renewing: tuple[str | None, Future[None]] | None = None  # the configured key, and the end of it
        self._failed_at = float("-inf")
        self._exchanges = False  # the server wants a token instead of the key
        self._command_required = False
        self._found: tuple[str | None, str | None] | None = None  # the configured key, and what the chain made of it
        self._token: tuple[str | None, _Token] | None = None  # the credential it was given for, and the token

    def configure(self, *, exchanges: bool, command_required: bool) -> None:
        """Follow the server's start-up flags."""
        self._exchanges = exchanges
        self._command_required = command_required
        if command_required and self._found is not None and self._found[0] is not None:
            self._found = None  # the configured key was good enough until now

    def credential(self, exchange: Exchange, *, raw: bool) -> Coroutine[str | None]:
        """What to send as X-API-Key now; None for nothing. `raw` asks for the key itself, not for a token."""
        found = self._found
        if found is None or found[0] != self._config.current.api_key:
            yield from self._resolve()
            found = self._found
            assert found is not None
        if raw or not self._exchanges:
            return found[1]
        token = self._token
        now = self._clock.monotonic()
        if token is None or token[0] != found[1] or now >= token[1].ends_at:
            old = token[1].text if token and token[0] == found[1] else None
            yield from self.renew(exchange, old, refused=False)
            token = self._token
        elif now >= max(token[1].renew_at, self._failed_at + _REFRESH_PAUSE):
            self._begin_renewal(exchange, token[1].text)  # in the background, while the old one is good
        return token[1].text if token else found[1]

    def may_renew(self, headers: Mapping[str, str]) -> bool:
        """Whether a 401 with these headers is worth a new credential: the token is refused, or a command has more."""
        if self._exchanges:
            return bool(re.search(_IS_INVALID, headers.get("www-authenticate", "")))
        fixed = self._config.current.api_key is not None and not self._command_required
        return not fixed and bool(os.environ.get("TINKER_CREDENTIAL_CMD"))

    def renew(self, exchange: Exchange, old: str | None, *, refused: bool) -> Coroutine[None]:
        """Renew the credential unless another task has replaced `old`; a live one survives a failure."""
        future = self._begin_renewal(exchange, old)
        if future is None:
            return
        done = yield FutureWait(future)
        error = done.exception()
        if error is not None:
            token, found = self._token, self._found
            if (
                token is None
                or (refused and token[1].text == old)
                or self._clock.monotonic() >= token[1].ends_at
                or (found is not None and found[0] is not None and found[1] != token[0])  # of a key that was replaced
            ):
                raise copy.copy(error)

    def keep_fresh(self, exchange: Exchange) -> Coroutine[None]:
        """Refresh the token in the background for as long as the service lives."""
        while self._token is not None and self._token[1].refresh_after is not None:
            delay = max(1.0, self._token[1].refresh_after)
            while True:
                yield Sleep(self._clock.monotonic() + delay)
                before = self._token
                with contextlib.suppress(Exception):  # the old token may live
                    yield from self.renew(exchange, None, refused=False)
                if self._token is not before:
                    break
                delay = _REFRESH_RETRY

    def masked(self, text: str) -> str:
        """The server's words, without the credentials it was sent."""
        found, token = self._found, self._token
        return mask(text, (found and found[1], self._config.current.api_key, token and token[1].text))

    def _begin_renewal(self, exchange: Exchange, old: str | None) -> Future[None] | None:
        """The renewal in flight, begun here if there is none; None if another has replaced `old`."""
        key = self._config.current.api_key
        with self._lock:
            if old is not None and self._current() != old:
                return None
            if self._renewing is None or self._renewing[0] != key:
                begun: tuple[str | None, Future[None]] = (key, Future())
                self._renewing = begun
                self._scheduler.start(lambda: self._renew(exchange, begun), begun[1])
            return self._renewing[1]

    def _current(self) -> str | None:
        token = self._token if self._exchanges else None
        return token[1].text if token else self._found[1] if self._found else None

    def _renew(self, exchange: Exchange, mine: tuple[str | None, Future[None]]) -> Coroutine[None]:
        try:
            yield from self._renewal(exchange, mine)
        except Exception as error:
            words = self.masked(str(error))
            logger.warning("The credential could not be renewed; the old one is used as long as it lasts: %s", words)
            raise

    def _renewal(self, exchange: Exchange, mine: tuple[str | None, Future[None]]) -> Coroutine[None]:
        try:
            yield from self._resolve()
            if self._exchanges:
                yield from self._exchange(exchange)
        except Exception:
            self._failed_at = self._clock.monotonic()
            raise
        finally:
            with self._lock:
                if self._renewing is mine:
                    self._renewing = None

    def _resolve(self) -> Coroutine[None]:
        config, required = self._config.current, self._command_required
        credential = yield RunInThread(
            self._threads, lambda: resolve_credential(config, command_required=required, clock=self._clock)
        )
        self._found = (config.api_key, credential)

    def _exchange(self, exchange: Exchange) -> Coroutine[None]:
        assert self._found is not None
        key = self._found[1]
        text = (yield from exchange(self._config.current)).get("jwt")
        if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
            raise APIResponseError("The server exchanged the API key for something that is not a token.")
        self._token = (key, _Token(text, self._clock))
