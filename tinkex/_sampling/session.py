"""Sampling session in one process: its sequence numbers, its queue, its poller."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from tinkex._api import limits
from tinkex._api.endpoints import JOIN_SAMPLING_SESSION
from tinkex._api.session import Session
from tinkex._runtime.single_flight import SingleFlight
from tinkex._runtime.task import Coroutine
from tinkex._sampling.admission import ClientQueue
from tinkex._sampling.context import SamplingContext
from tinkex._sampling.session_poller import SessionPoller
from tinkex.errors import APIResponseError

_BLOCK = 1_000_000_000  # sequence numbers in the range of one clone


class SamplingSession:
    """One clone of a sampling session: unique sequence numbers, the queue of its samples, its poller.

    The process that created the session is clone 0. Any other gets its number from the server where the server
    hands numbers out, or draws one.
    """

    def __init__(
        self,
        context: SamplingContext,
        session: Session,
        sampling_session_id: str,
        *,
        original: bool,
        record_stability_info: bool,
    ) -> None:
        self.context = context  # a forked child has another
        self.sampling_session_id = sampling_session_id
        self.record_stability_info = record_stability_info
        self.queue = ClientQueue()
        self.poller: SessionPoller | None = None  # once the clone's number is known
        self._session = session
        self._numbers: Iterator[int] | None = None
        self._joined = SingleFlight(context.scheduler, self._join)
        if original:
            self._set_clone(0)

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
