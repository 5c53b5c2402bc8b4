"""The credential that goes with a request: the key as it is, or a token the server gave for it."""

from __future__ import annotations

import logging
import os
import random
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from tinkex._clock import Clock
from tinkex._job import Job, Jobs, Outcome, Sleep, Story
from tinkex._locks import new_lock
from tinkex._threads import ElasticPool
from tinkex.config import ClientConfig
from tinkex.credentials import parse_claims, resolve_credential
from tinkex.errors import APIResponseError, TinkexError

logger = logging.getLogger("tinkex")

_INVALID_TOKEN = re.compile(r'error\s*=\s*"?invalid_token', re.IGNORECASE)
_REFRESH_SHARE = (0.45, 0.55)
_REFRESH_BEFORE_END = 60.0
_REFRESH_RETRY = 60.0
_FOREVER = float("inf")

Exchange = Callable[[ClientConfig], Story[dict[str, Any]]]
"""Asks the server for a token, sending the key itself."""


class Resolve:
    """A wait for the credential chain, which may run a command or read a file."""

    __slots__ = ("_resolve", "_threads", "until")

    def __init__(self, threads: ElasticPool, resolve: Callable[[], str | None]) -> None:
        self._threads = threads
        self._resolve = resolve
        self.until = _FOREVER

    def arm(self, job: Job, epoch: int) -> None:
        """Run the chain on a thread that may block."""
        self._threads.submit(lambda: self._run(job, epoch))

    def _run(self, job: Job, epoch: int) -> None:
        try:
            outcome: object = self._resolve()
        except BaseException as error:  # noqa: BLE001 - it belongs to the job
            outcome = error
        job.wake(epoch, outcome)


class _Token:
    """One exchanged token and when it ends, on the monotonic clock."""

    def __init__(self, text: str, clock: Clock) -> None:
        self.text = text
        claims = parse_claims(text)
        now = clock.monotonic()
        ends, made = (claims.expires_at, claims.issued_at) if claims else (None, None)
        self.ends_at = _FOREVER if ends is None else now + ends - clock.wall()
        self.refresh_after = (
            None
            if ends is None
            else (ends - (clock.wall() if made is None else made)) * random.uniform(*_REFRESH_SHARE)
        )


class Auth:
    """Keeps the credential of one service. Whoever needs a new one shares one exchange with everybody who does."""

    def __init__(self, jobs: Jobs, threads: ElasticPool, clock: Clock) -> None:
        self._jobs = jobs
        self._threads = threads
        self._clock = clock
        self._lock = new_lock()  # guards _renewing
        self._renewing: Future[None] | None = None
        self._exchanges = False  # the server wants a token instead of the key
        self._command_required = False
        self._found: tuple[str | None, str | None] | None = None  # the configured key, and what the chain made of it
        self._token: tuple[str | None, _Token] | None = None  # the credential it was given for, and the token

    def configure(self, *, exchanges: bool, command_required: bool) -> None:
        """Follow the server's start-up flags."""
        self._exchanges = exchanges
        self._command_required = command_required

    def credential(self, exchange: Exchange, config: ClientConfig, *, raw: bool) -> Story[str | None]:
        """What to send as X-API-Key now; None for nothing. `raw` asks for the key itself, not for a token."""
        found = self._found
        if found is None or found[0] != config.api_key:
            yield from self._resolve(config)
            found = self._found
            assert found is not None
        if raw or not self._exchanges:
            return found[1]
        token = self._token
        if token is None or token[0] != found[1] or self._clock.monotonic() >= token[1].ends_at - _REFRESH_BEFORE_END:
            yield from self.renew(exchange, config, token[1].text if token and token[0] == found[1] else None)
            token = self._token
        return token[1].text if token else found[1]

    def may_renew(self, headers: Mapping[str, str], config: ClientConfig) -> bool:
        """Whether a 401 with these headers is worth a new credential: the token is refused, or a command has another."""
        if self._exchanges:
            return bool(_INVALID_TOKEN.search(headers.get("www-authenticate", "")))
        return config.api_key is None and bool(os.environ.get("TINKER_CREDENTIAL_CMD"))

    def renew(self, exchange: Exchange, config: ClientConfig, rejected: str | None) -> Story[None]:
        """Get a new credential unless another job has since `rejected` was sent; a live token survives a failure."""
        with self._lock:
            if self._current() != rejected and rejected is not None:
                return
            future = self._renewing
            if future is None:
                self._renewing = future = Future()
                self._jobs.start(lambda: self._renew(exchange, config), future)
        done = yield Outcome(future)
        error = done.exception()
        if error is not None:
            token = self._token
            if token is None or token[1].text == rejected or self._clock.monotonic() >= token[1].ends_at:
                raise error

    def keep_fresh(self, exchange: Exchange, config: Callable[[], ClientConfig]) -> Story[None]:
        """Refresh the token in the background for as long as the service lives."""
        while self._token is not None and self._token[1].refresh_after is not None:
            delay = max(1.0, self._token[1].refresh_after)
            while True:
                yield Sleep(self._clock.monotonic() + delay)
                try:
                    yield from self.renew(exchange, config(), None)
                    break
                except TinkexError as error:
                    logger.warning("The access token could not be refreshed; the old one stays: %s", error)
                    delay = _REFRESH_RETRY

    def _current(self) -> str | None:
        token = self._token if self._exchanges else None
        return token[1].text if token else self._found[1] if self._found else None

    def _renew(self, exchange: Exchange, config: ClientConfig) -> Story[None]:
        try:
            yield from self._resolve(config)
            if self._exchanges:
                yield from self._exchange(exchange, config)
        finally:
            with self._lock:
                self._renewing = None

    def _resolve(self, config: ClientConfig) -> Story[None]:
        required = self._command_required
        credential = yield Resolve(
            self._threads, lambda: resolve_credential(config, command_required=required, clock=self._clock)
        )
        self._found = (config.api_key, credential)

    def _exchange(self, exchange: Exchange, config: ClientConfig) -> Story[None]:
        assert self._found is not None
        key = self._found[1]
        text = (yield from exchange(config)).get("jwt")
        if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
            raise APIResponseError("The server exchanged the API key for something that is not a token.")
        self._token = (key, _Token(text, self._clock))
