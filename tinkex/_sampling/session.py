"""One sampling session as this process uses it: its sequence numbers, its line, its poller."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

from tinkex._api.client import Api
from tinkex._api.endpoints import JOIN_SAMPLING_SESSION
from tinkex._api.session import Session
from tinkex._concurrency.clock import Clock
from tinkex._runtime.single_flight import Shared
from tinkex._runtime.task import Jobs, Story
from tinkex._sampling.admission import Lane
from tinkex._sampling.session_poller import SessionPoller
from tinkex.config import ClientConfig
from tinkex.errors import APIResponseError

_BLOCK = 1_000_000_000  # sequence numbers a clone has to itself


class Sampler:
    """What makes a (session, sequence number) pair unique, and what belongs to one pair's clone.

    The process that created the session is clone 0. Any other gets its number from the server where the server
    hands numbers out, or draws one.
    """

    def __init__(
        self, sampling_session_id: str, *, original: bool, record_stability_info: bool, machine: object, jobs: Jobs,
        api: Api, clock: Clock, session: Session, config: Callable[[], ClientConfig],
    ) -> None:  # fmt: skip
        self.sampling_session_id = sampling_session_id
        self.record_stability_info = record_stability_info
        self.machine = machine  # whose it is; a forked child has another
        self.lane = Lane()
        self._jobs = jobs
        self._api = api
        self._clock = clock
        self._session = session
        self._config = config
        self._numbers: Iterator[int] | None = None
        self.poller: SessionPoller | None = None
        self._ready = Shared(jobs, self._join)
        if original:
            self._settle(0)

    def next_number(self) -> Story[int]:
        """A sequence number that no other request of this sampling session has or will have."""
        if self._numbers is None:
            yield from self._ready()
        assert self._numbers is not None
        return next(self._numbers)

    def _join(self) -> Story[None]:
        yield from self._session.started()
        if not self._session.flags.current.sample_join_sampling_session:
            self._settle(1 + int.from_bytes(os.urandom(8), "big") % _BLOCK)
            return
        fields = {"sampling_session_id": self.sampling_session_id, "type": "join_sampling_session"}
        answer = yield from self._api.ask(JOIN_SAMPLING_SESSION, fields, self._config())
        counter = answer.get("client_counter")
        if not isinstance(counter, int) or isinstance(counter, bool) or counter < 1:
            raise APIResponseError("The server's answer to join_sampling_session has no client_counter.")
        self._settle(counter)

    def _settle(self, clone: int) -> None:
        self._numbers = itertools.count(clone * _BLOCK)
        target = {
            "type": "sampling_session",
            "sampling_session_id": self.sampling_session_id,
            "cloned_sampler_id": clone,
        }
        self.poller = SessionPoller(self._jobs, self._api, self._clock, self._config, target)
