"""Sampling session in one process: its sequence numbers, its queue, its poller."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from tinkex import _wire
from tinkex._api import limits
from tinkex._api.endpoints import JOIN_SAMPLING_SESSION
from tinkex._api.session import Session
from tinkex._runtime.single_flight import SingleFlight
from tinkex._runtime.task import Coroutine
from tinkex._sampling.admission import ClientQueue
from tinkex._sampling.context import SamplingContext
from tinkex._sampling.session_poller import SessionPoller
from tinkex.errors import APIResponseError, NotFoundError

_BLOCK = 1_000_000_000  # sequence numbers in the range of one clone
_FRUITLESS_SECONDS = 60.0  # between renewals of which none led to an accepted sample
_FRESH_SECONDS = 1.0  # for which an answer about it counts

Model = tuple[str | None, str | None]
"""Base model and weights that a sampling session is of, either of them or both."""


class SamplingSession:
    """One clone of a sampling session: unique sequence numbers, the queue of its samples, its poller.

    The process that created the session is clone 0. Any other gets its number from the server where the server
    hands numbers out, or draws one. One that the server has forgotten is renewed if its `model` is known.
    """

    def __init__(
        self,
        context: SamplingContext,
        session: Session,
        sampling_session_id: str,
        *,
        original: bool,
        record_stability_info: bool,
        model: Model | None = None,
        renewed_from: SamplingSession | None = None,
    ) -> None:
        self.context = context  # a forked child has another
        self.sampling_session_id = sampling_session_id
        self.record_stability_info = record_stability_info
        self.queue: ClientQueue = ClientQueue() if renewed_from is None else renewed_from.queue
        self.accepted: bool = renewed_from is None  # whether the server is known to have taken a sample
        self.successor: SamplingSession | None = None  # once it was renewed
        self._original = original
        self._model = model
        self._made_at = context.clock.monotonic()
        self._renewal: SingleFlight | None = None  # made when the server has forgotten it, and so is the next
        self._check: SingleFlight | None = None
        self._checked_at = float("-inf")
        self.poller: SessionPoller | None = None  # once the clone's number is known
        self._session = session
        self._numbers: Iterator[int] | None = None
        self._joined = SingleFlight(context.scheduler, self._join)
        if renewed_from is not None and renewed_from.sampling_session_id == sampling_session_id:
            self._numbers, self.poller = renewed_from._numbers, renewed_from.poller  # noqa: SLF001 - its own class
        elif original:
            self._set_clone(0)

    @property
    def session_id(self) -> str | None:
        """The session that it belongs to; None where that is another process's."""
        return self._session.session_id if self._original else None

    @property
    def latest(self) -> SamplingSession:
        """This one, or what it was renewed as."""
        latest = self
        while latest.successor is not None:
            latest = latest.successor
        return latest

    def renewed(self, message: str | None) -> Coroutine[SamplingSession | None]:
        """What takes the place of this one, if the server has forgotten it: `message` is what came with a 404.

        None where it has not, where the model is not known, and where the last renewal has led nowhere just now.
        """
        if self.successor is None:
            now = self.context.clock.monotonic()
            if self._model is None or not (self.accepted or now - self._made_at > _FRUITLESS_SECONDS):
                return None
            if not _wire.says_session(message) and (yield from self.is_known(now - _FRESH_SECONDS)):
                return None  # the 404 was about something else in the request
            with self.context.joining:
                self._renewal = renewal = self._renewal or SingleFlight(self.context.scheduler, self._renew)
            yield from renewal()
        return self.successor

    def is_known(self, since: float) -> Coroutine[bool]:
        """Whether the server still knew it at a time after `since`; True where it does not tell."""
        check = self._check
        if check is None or self._checked_at < since:
            self._check = check = SingleFlight(self.context.scheduler, self._is_known)
            self._checked_at = self.context.clock.monotonic()
        return (yield from check())  # type: ignore[no-any-return]

    def _is_known(self) -> Coroutine[bool]:
        try:
            yield from self._session.describe_sampler(self.sampling_session_id)
        except NotFoundError as error:
            return _wire.says_no_route(_wire.message_of(error.body))
        return True

    def _renew(self) -> Coroutine[None]:
        assert self._model is not None
        made, _ = yield from self._session.create_sampling_session(*self._model)
        self.successor = SamplingSession(
            self.context, self._session, made, original=True,
            record_stability_info=self.record_stability_info, model=self._model, renewed_from=self,
        )  # fmt: skip

    def next_number(self) -> Coroutine[int]:
        """A sequence number that no other request of this sampling session has or will have."""
        if self._numbers is None:
            yield from self._joined()
        assert self._numbers is not None
        return next(self._numbers)

    def _join(self) -> Coroutine[None]:
        yield from self._session.started()
        if not self._session.flags.current.sample_join_sampling_session:
            self._set_clone(1 + int.from_bytes(os.urandom(8), "big") % _BLOCK)
            return
        api = self.context.api
        fields = {"sampling_session_id": self.sampling_session_id, "type": "join_sampling_session"}
        answer = yield from api.ask(JOIN_SAMPLING_SESSION, fields, api.config.current)
        counter = answer.get("client_counter")
        if type(counter) is not int or limits.CLIENT_COUNTER.apply(counter) != counter:
            raise APIResponseError("The server's answer to join_sampling_session has no usable client_counter.")
        self._set_clone(counter)

    def _set_clone(self, clone: int) -> None:
        self._numbers = itertools.count(clone * _BLOCK)
        self.poller = SessionPoller(self.context.api, self.sampling_session_id, clone)
