"""The story of one sample, from its place in flight to its result; read it top to bottom.

    admitted -> encode -> submit (again, where that is right) -> wait for the answer -> fetch and decode -> result

It is a generator: every `yield` is a wait that holds no thread. The `finally` clauses on the way give back what was
taken, whether it ends with a result, an error, a cancel or its deadline.
"""

from __future__ import annotations

from typing import Any

from tinkex import _wire
from tinkex._api.client import retry_after
from tinkex._api.endpoints import ASAMPLE, RETRIEVE_FUTURE
from tinkex._api.responses import BILLING_PAUSE, complete, pause_of
from tinkex._api.retry import RetryBudget
from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex._runtime.byte_semaphore import Reserve
from tinkex._runtime.task import Interrupted, Sleep, Story
from tinkex._sampling.admission import Again, Slot
from tinkex._sampling.context import Surroundings
from tinkex._sampling.promise import Expired, Polled, Promise, result_of
from tinkex._sampling.session import Sampler
from tinkex._transport.http11 import Response
from tinkex.config import ClientConfig, RetryConfig
from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
)
from tinkex.future import SampleFuture
from tinkex.queue_state import QueueState, QueueStateObserver
from tinkex.types import SampleRequest, SampleResponse, Timing

_NO_RETRY = RetryConfig(max_attempts=1)
_UNSPENT = RetryBudget(_NO_RETRY, SYSTEM_CLOCK)  # that of every sample up to its first failure: most need none
_LEAST_RESERVED = 131_072  # so that no more than a few hundred stand in line for a connection, requests in hand
_UNKNOWN_GRACE = 10.0  # a promise may be unknown for so long after it was made
_MOST_DOUBTFUL = 3  # polls answered by something that may be a proxy
_QUICK_ANSWER = 1.0  # "not yet" sooner than this is not a long poll's


class SampleStory:
    """One sample: what was asked for, and how far it has come."""

    __slots__ = (
        "_around", "_config", "_doubtful", "_fetching_since", "_observers", "_owner", "_polls", "_quick", "_retry",
        "_retry_config", "future", "request", "risked", "sampler", "started_at",
    )  # fmt: skip

    def __init__(
        self, around: Surroundings, sampler: Sampler, request: SampleRequest, config: ClientConfig,
        future: SampleFuture[Any], retry: RetryConfig, observers: tuple[QueueStateObserver, ...], owner: object,
    ) -> None:  # fmt: skip
        self._around = around
        self._config = config
        self.sampler = sampler
        self.request = request
        self.future = future
        self._observers = observers
        self._retry_config = _NO_RETRY if around.no_retries else retry
        self._retry = _UNSPENT
        self._owner = owner  # a sample keeps alive the client it was asked of
        self.started_at = around.clock.monotonic()
        self.risked = False  # whether something was sent that the server may have acted on without a word to us

    def tell(self, slot: Slot | None) -> Story[SampleResponse]:
        """Live it; `slot` is the right to submit that comes with the place in flight."""
        admitted_at = self._around.clock.monotonic()
        try:
            while True:
                promise = yield from self._submit(slot)
                slot = None
                try:
                    response = yield from self._await_answer(promise)
                    return self._finished(response, promise, admitted_at)
                except Expired as expired:
                    yield from self._back_off(expired.error, attempt=True, retry=True)
        except BaseException as error:
            if isinstance(error, APIError):
                complete(self._around.api.cleaned(error), self.future, risked=self.risked)
            self._around.ended(None, None if isinstance(error, Interrupted) else error)
            raise
        finally:
            self._leave()

    def _finished(self, response: SampleResponse, promise: Promise, admitted_at: float) -> SampleResponse:
        now = self._around.clock.monotonic()
        timing = Timing(
            queued=admitted_at - self.started_at,
            submit=promise.made_at - admitted_at,
            wait=self._fetching_since - promise.made_at,
            fetch=now - self._fetching_since,
        )
        response = _wire.finish_response(
            response, self.request, promise.request_id or None, promise.sequence_ids, timing
        )
        self._around.ended(response, None)
        return response

    def _leave(self) -> None:
        around = self._around
        self.future.phase = "done"
        around.admission.ended()
        if around.clock.monotonic() >= around.admission.paused_until:  # else it is others that still wait
            self._announce(QueueState.ACTIVE, None)

    # --- submit -------------------------------------------------------------------------------------------------------

    def _submit(self, slot: Slot | None) -> Story[Promise]:
        """Send it until the server accepts it, always under the same sequence number."""
        around, config, future = self._around, self._config, self.future
        body = yield from self._encoded(slot)
        size = _wire.estimate_bytes(self.request.prompt)
        while True:
            if slot is None:
                slot = yield from self._turn(size)
            future.phase = "submitting"
            future.attempts = self._retry.attempts
            sent_at = around.clock.monotonic()
            try:
                response = yield from around.api.call(
                    ASAMPLE, body, config, seconds=config.request_timeout, retry_count=self._retry.failures
                )
                failure = self._refusal(response)
            except APIConnectionError as error:
                failure = error
                self.risked |= error.may_have_run
            finally:
                slot.give_back()
                slot = None
            if failure is None:
                return self._promised(response, sent_at)
            if self._is_pause(failure):
                self._pause(failure, response, size)
            else:
                yield from self._back_off(failure, attempt=True)

    def _encoded(self, slot: Slot | None) -> Story[bytes]:
        try:
            return _wire.encode_sample(
                self.request,
                sampling_session_id=self.sampler.sampling_session_id,
                seq_id=(yield from self.sampler.next_number()),
                record_stability_info=self.sampler.record_stability_info,
            )
        except BaseException:
            if slot is not None:
                slot.give_back()
            raise

    def _turn(self, size: int) -> Story[Slot]:
        """The right to submit again; the pauses that this waits for are not this sample's failures."""
        self.future.phase = "retrying"
        since = self._around.clock.monotonic()
        slot: Slot = yield Again(self._around.admission, size)
        self._retry.paused(self._around.clock.monotonic() - since)
        return slot

    def _refusal(self, response: Response) -> APIError | None:
        self._heard(response)
        if 200 <= response.status < 300:
            self._retry.recovered()
            return None
        self.risked |= response.status >= 500 and response.status != 503
        return self._around.api.error(response, phase="submitting")

    def _promised(self, response: Response, sent_at: float) -> Promise:
        now = self._around.clock.monotonic()
        self.risked = True
        decoded = _wire.decode_promise(response.body)
        self.future.request_id = decoded.request_id
        self.future.sample_sequence_ids = decoded.sequence_ids
        self._fetching_since = now
        return Promise(decoded.request_id or "", decoded.sequence_ids, now, now - sent_at, decoded.answer)

    def _is_pause(self, failure: APIError) -> bool:
        """Whether the server asks everybody to wait: a 429, or a 402 while that may be sat out.

        Raises the 429 where the caller would rather know than wait.
        """
        if not isinstance(failure, APIStatusError) or failure.should_retry is False:
            return False
        if failure.status == 429:
            if self._config.on_rate_limit == "raise":
                raise failure
            return True
        return failure.status == 402 and self._around.may_wait_for_billing(self._config.billing_wait)

    def _pause(self, failure: APIError, response: Response, size: int) -> None:
        assert isinstance(failure, APIStatusError)
        pause = pause_of(failure, response, size)
        self._around.admission.pause(pause.seconds, pause.reason)
        self._note_failure(failure, pause.seconds, self.future.phase, quiet=True)  # observers tell
        self._note_queue(pause.state, pause.told)

    # --- wait and fetch -----------------------------------------------------------------------------------------------

    def _await_answer(self, promise: Promise) -> Story[SampleResponse]:
        """Wait for the result and fetch it; raises `Expired` where the promise is lost."""
        if promise.inline is not None:
            return result_of(promise.inline)
        around = self._around
        self._polls = self._doubtful = self._quick = 0
        self.future.phase = "waiting"
        poller = self.sampler.poller if around.poll_together() else None
        try:
            told: Any = None if poller is None else (yield poller.completion(promise.request_id, promise.made_at))
            if told is None or told.size is None:
                answer = yield from self._poll_until_ready(promise, whole=False)
                if isinstance(answer, _wire.Finished):
                    self._fetching_since = around.clock.monotonic()
                    return answer.response
                told = answer
            return (yield from self._fetch(promise, told.size))
        except Interrupted:
            around.forget(promise.request_id)
            raise
        finally:
            if poller is not None:
                poller.fetched(promise.request_id)

    def _fetch(self, promise: Promise, size: int) -> Story[SampleResponse]:
        """Get a result that is known to be there, once its bytes have room."""
        self.future.phase = "fetching"
        reserved = yield Reserve(self._around.response_bytes, max(size, _LEAST_RESERVED))
        self._fetching_since = self._around.clock.monotonic()
        try:
            answer = yield from self._poll_until_ready(promise, whole=True)
            if isinstance(answer, _wire.MetadataOnly):
                raise APIResponseError("The server answered a request for the result with its size, twice.")
            return answer.response
        finally:
            reserved.give_back()

    def _poll_until_ready(self, promise: Promise, *, whole: bool) -> Story[_wire.Finished | _wire.MetadataOnly]:
        """Ask until there is the result or, unless it must be `whole` and where it is large, its size."""
        around, config = self._around, self._config
        answer: Polled | None
        while True:
            asked_at = around.clock.monotonic()
            asks_size = not whole and not around.api.knows_no_metadata
            self._polls += 1
            try:  # what is sent is made on the way into the call: thousands wait in it
                response = yield from around.api.call(
                    RETRIEVE_FUTURE,
                    promise.question(asks_size=asks_size),
                    config,
                    seconds=config.poll_timeout,
                    extra=promise.poll_lines(self._polls),
                    urgent=whole,
                )
            except APITimeoutError:  # how some servers' long polls end
                answer = _wire.Pending()
            except APIConnectionError as error:
                yield from self._back_off(error, attempt=False)
                continue
            else:
                answer = self._answer(response) or (yield from self._not_answered(response, promise, asks_size))
                del response
            if isinstance(answer, _wire.Pending):
                yield from self._not_yet(answer, asked_at)
            elif answer is not None:
                return answer

    def _answer(self, response: Response) -> Polled | None:
        """What a poll found; None where its status says otherwise."""
        self._heard(response)
        if not 200 <= response.status < 300:
            return None
        self._retry.recovered()
        self._doubtful = 0
        answer = _wire.decode_answer(response.headers.get("content-type", ""), response.body)
        return answer if isinstance(answer, _wire.Pending | _wire.MetadataOnly) else _wire.Finished(result_of(answer))

    def _not_answered(self, response: Response, promise: Promise, asked_size: bool) -> Story[Polled | None]:
        """What a poll's status other than 2xx means; None: ask again, any pause is over."""
        around, status = self._around, response.status
        if asked_size and status == 422 and b"allow_metadata_only" in response.body:
            around.api.knows_no_metadata = True
            return None
        words = _wire.decode_error_body(response.headers.get("content-type", ""), response.body)
        if status == 408:
            self._retry.recovered()
            self._doubtful = 0
            return _wire.Pending(words.queue_state, words.reason, retry_after(response.headers, around.clock))
        error = around.api.error(response, request_id=promise.request_id, phase="waiting")
        if status == 410:
            raise Expired(error)
        if status == 402 and around.may_wait_for_billing(self._config.billing_wait):
            self._retry.paused(BILLING_PAUSE)
            yield Sleep(around.clock.monotonic() + BILLING_PAUSE)
            return None
        recent = around.clock.monotonic() - promise.made_at < _UNKNOWN_GRACE
        self._doubtful += (doubtful := (status == 400 and not words.is_json) or (status == 404 and recent))
        if doubtful and self._doubtful <= _MOST_DOUBTFUL:
            yield from self._back_off(error, attempt=False, retry=True)
            return None
        if status == 429 or status >= 500:
            yield from self._back_off(error, attempt=False)
            return None
        raise error

    def _not_yet(self, pending: _wire.Pending, asked_at: float) -> Story[None]:
        """Pass on what the server says of its queue, and keep a distance to the next poll where it answers at once."""
        if pending.queue_state is not None or pending.reason is not None:
            self._note_queue(QueueState.parse(pending.queue_state), pending.reason)
        now = self._around.clock.monotonic()
        if now - asked_at >= _QUICK_ANSWER:
            self._quick = 0
        else:
            interval = self._config.min_poll_interval * (1 + min(self._quick, 12) / 4)
            self._quick += 1
            until = max(asked_at + interval, now + (pending.retry_after or 0.0))
            if until > now:
                yield Sleep(until)

    def _back_off(self, error: Exception, *, attempt: bool, retry: bool | None = None) -> Story[None]:
        """Wait before going on after `error`, or raise it."""
        if self._retry is _UNSPENT:
            self._retry = RetryBudget(self._retry_config, self._around.clock)
        delay = self._retry.delay(error, attempt=attempt, retry=retry)
        phase, self.future.phase = self.future.phase, "retrying"
        self._note_failure(error, delay, phase)
        yield Sleep(self._around.clock.monotonic() + delay)
        self.future.phase = phase

    def _note_failure(self, error: Exception, delay: float, phase: str, *, quiet: bool = False) -> None:
        future, around = self.future, self._around
        future.last_failure = failure = around.api.masked(str(error))
        session = self.sampler.sampling_session_id
        around.retries.note(session, future.request_id, phase, self._retry.attempts, delay, failure, quiet=quiet)

    def _heard(self, response: Response) -> None:
        self.future.last_heard = self._around.clock.monotonic()
        self.future.last_status = response.status

    def _note_queue(self, state: QueueState, reason: str | None) -> None:
        reason = reason and self._around.api.masked(reason)
        self.future.queue_state = state
        self.future.queue_state_reason = reason
        self._announce(state, reason)

    def _announce(self, state: QueueState, reason: str | None) -> None:
        session = self.sampler.sampling_session_id
        self._around.announce(session, self.future.request_id, state, reason, self._observers)
