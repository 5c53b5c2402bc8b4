"""Coroutine of one sample, from its place in flight to its result. Read it top to bottom.

    admitted -> encode -> submit (again, where that is right) -> wait for the answer -> fetch and decode -> result

It is a generator: every `yield` is a wait that holds no thread. The `finally` clauses on the way release what was
taken, whether it ends with a result, an error, a cancel or its deadline.
"""

from __future__ import annotations

from tinkex import _wire
from tinkex._api import limits
from tinkex._api.endpoints import ASAMPLE, RETRIEVE_FUTURE
from tinkex._api.responses import BILLING_PAUSE, Refusal, Response, requested_pause, retry_after
from tinkex._runtime.byte_semaphore import AcquireBytes
from tinkex._runtime.task import Coroutine, Sleep, TaskCancelled
from tinkex._sampling._sample.promise import Expired, Polled, Promise, PutOff, result_of
from tinkex._sampling._sample.state import SampleState
from tinkex._sampling.admission import ReacquirePermit, SubmitPermit
from tinkex._sampling.session_poller import Completion, SessionPoller
from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    NotFoundError,
    RequestFailedError,
)
from tinkex.queue_state import QueueState
from tinkex.types import SampleResponse, Timing

_LEAST_ACQUIRED = 131_072  # so that no more than a few hundred wait for a connection, requests in hand
_UNKNOWN_GRACE = 10.0  # a promise may be unknown for so long after it was made
_MOST_MOVES = 3  # of one sample to a renewed sampling session
_QUICK_ANSWER = 1.0  # "not yet" sooner than this is not a long poll's


class Sample(SampleState):
    """Coroutine of one sample."""

    __slots__ = ()

    def run(self, permit: SubmitPermit | None) -> Coroutine[SampleResponse]:
        """Run the sample to completion; `permit` is the right to submit that comes with the place in flight."""
        context = self.session.context
        admitted_at = context.clock.monotonic()
        try:
            while True:
                promise = yield from self._submit(permit)
                permit, poller = None, self._poller_for(promise)
                try:  # most of a sample's time is this wait: thousands are in it, so no generator more is
                    ended = None if poller is None else (yield poller.completion(promise.request_id, promise.made_at))
                    response = yield from self._await_answer(promise, ended)
                    return self._finished(response, promise, admitted_at)
                except TaskCancelled:
                    context.cancel_on_server(promise.request_id)
                    raise
                except (Expired, PutOff, NotFoundError, RequestFailedError) as failure:
                    yield from self._go_on(failure, promise)
                finally:
                    if poller is not None:
                        poller.fetched(promise.request_id)
        except (GeneratorExit, TaskCancelled):  # the first in a forked child: it is the parent's sample
            raise
        except BaseException as error:
            if isinstance(error, APIError):
                self._complete(context.api.cleaned(error))
            context.failed(error)
            raise
        finally:
            self._leave()

    def _go_on(self, failure: Expired | PutOff | APIError, promise: Promise) -> Coroutine[None]:
        """Wait until another submission is due, after one that came to nothing; raises an error that is final."""
        if isinstance(failure, Expired):
            self.may_have_run = True
            yield from self._back_off(failure.error, attempt=True, retry=True)
        elif isinstance(failure, PutOff):
            if not self._is_pause(failure.refusal):
                raise failure.refusal.error from None
            self.future.request_id = None
            self._pause(failure.refusal)
        else:
            session, lost_at = self.session.sampling_session_id, self.session.context.api.lost_at
            if promise.met_no_session(failure.message, session, lost_at):
                failure.request_id, self.future.request_id = promise.request_id, None
            if not (yield from self._moved(failure, failure.message)):
                raise failure

    def _finished(self, response: SampleResponse, promise: Promise, admitted_at: float) -> SampleResponse:
        context = self.session.context
        now = context.clock.monotonic()
        timing = Timing(
            queued=admitted_at - self.started_at,
            submit=promise.made_at - admitted_at,
            wait=self._fetching_since - promise.made_at,
            fetch=now - self._fetching_since,
        )
        response = _wire.finish_response(
            response, self.request, promise.request_id or None, self.future.sample_sequence_ids, timing
        )
        context.completed(response)
        return response

    def _leave(self) -> None:
        context = self.session.context
        self.future.phase = "done"
        context.admission.ended()
        if context.clock.monotonic() >= context.admission.throttle.paused_until:  # else others still wait
            self._notify_observers(QueueState.ACTIVE, None)

    # --- submit -------------------------------------------------------------------------------------------------------

    def _submit(self, permit: SubmitPermit | None) -> Coroutine[Promise]:
        """Submit until the server accepts it, always under the same sequence number."""
        context, config, future = self.session.context, self._config, self.future
        body = yield from self._encoded(permit)
        size = _wire.estimate_bytes(self.request.prompt)
        while True:
            if permit is None:
                permit = yield from self._reacquire(size)
            future.phase = "submitting"
            future.attempts = self._retry.attempts
            sent_at = context.clock.monotonic()
            failure: APIError
            refusal = None
            try:  # the permit is kept until the pause that an answer asks for has begun: else the next sample would go
                response = yield from context.api.call(
                    ASAMPLE, body, config, seconds=config.request_timeout, retry_count=self._retry.failures,
                    extra=future._header_lines, fresh=self._retry.doubts > 0,  # noqa: SLF001
                )  # fmt: skip
                refusal = self._refusal(response)
                if refusal is None:
                    return self._promised(response, sent_at)
                if self._is_pause(refusal):
                    self._pause(refusal)
                    continue
                failure = refusal.error
            except APIConnectionError as error:
                failure = error
                self.may_have_run |= error.may_have_run
            finally:
                permit.release()
                permit = None
            if (
                refusal is not None
                and refusal.is_unknown_id
                and (yield from self._moved(refusal.error, refusal.body.message))
            ):
                body = yield from self._encoded(None)
            else:
                yield from self._back_off(failure, attempt=True)

    def _moved(self, error: APIError, message: str | None) -> Coroutine[bool]:
        """Whether the sampling session, which the server has forgotten, was renewed: for a sample that has not run."""
        may_have_run = self.may_have_run or self.future.request_id is not None
        if may_have_run or getattr(error, "should_retry", None) is False or self._moves == _MOST_MOVES:
            return False
        renewed = yield from self.session.renewed(message)
        if renewed is None:
            return False
        self._moves += 1
        self._note_failure(error, 0.0, self.future.phase)
        self.session = renewed
        return True

    def _encoded(self, permit: SubmitPermit | None) -> Coroutine[bytes]:
        try:
            try:
                number = yield from self.session.next_number()
            except NotFoundError as error:  # a clone that joins a forgotten sampling session
                renewed = yield from self.session.renewed(_wire.message_of(error.body))
                if renewed is None:
                    raise
                self.session, number = renewed, (yield from renewed.next_number())
            session = self.session
            return _wire.encode_sample(
                self.request,
                sampling_session_id=session.sampling_session_id,
                seq_id=number,
                record_stability_info=session.record_stability_info,
            )
        except BaseException:
            if permit is not None:
                permit.release()
            raise

    def _reacquire(self, size: int) -> Coroutine[SubmitPermit]:
        """The right to submit again; the pauses that this waits for are not this sample's failures."""
        context = self.session.context
        self.future.phase = "retrying"
        since = context.clock.monotonic()
        permit: SubmitPermit = yield ReacquirePermit(context.admission, size)
        self._retry.paused(context.clock.monotonic() - since)
        return permit

    def _refusal(self, response: Response) -> Refusal | None:
        self._note_answer(response)
        if 200 <= response.status < 300:
            self._retry.recovered()
            self.session.context.admission.accepted()
            self.session.accepted = True
            return None
        self.may_have_run |= response.status >= 500 and response.status != 503
        return self.session.context.api.refusal(response, phase="submitting")

    def _promised(self, response: Response, sent_at: float) -> Promise:
        context = self.session.context
        now = self.future.last_heard or context.clock.monotonic()
        before, self.may_have_run = self.may_have_run, True
        try:
            decoded = context.api.read(response, _wire.decode_promise, response.body)
        except APIResponseError as error:
            if response.reused and _wire.is_json_object(response.body):
                self._budget().doubts += 1
                raise APIConnectionError(f"Another request's answer came: {error.message}", may_have_run=True) from None
            raise
        self.may_have_run = before or decoded.request_id is None
        self.future.request_id = decoded.request_id
        self.future.sample_sequence_ids = decoded.sequence_ids
        self._fetching_since = now
        return Promise(decoded.request_id or "", now, now - sent_at, decoded.answer)

    def _is_pause(self, refusal: Refusal) -> bool:
        """Whether the answer pauses all samples: a rate limit, or a 402 while that may be sat out.

        Raises the rate limit's error where the caller would rather know than wait.
        """
        failure = refusal.error
        if getattr(failure, "should_retry", None) is False:
            return False
        if refusal.is_rate_limit:
            if self._config.on_rate_limit == "raise":
                raise failure
            return True
        return getattr(failure, "status", None) == 402 and self.session.context.may_wait_for_billing(
            self._config.billing_wait
        )

    def _pause(self, refusal: Refusal) -> None:
        pause = requested_pause(refusal, _wire.estimate_bytes(self.request.prompt))
        self.session.context.admission.pause(pause.seconds, self._config.min_poll_interval, pause.reason, pause.cause)
        self._note_failure(refusal.error, pause.seconds, self.future.phase, quiet=True)  # observers are notified
        self._note_queue(pause.state, pause.queue_reason)

    # --- wait and fetch -----------------------------------------------------------------------------------------------

    def _poller_for(self, promise: Promise) -> SessionPoller | None:
        """The poller that hears of the completion; None where the sample polls for itself, or has its answer."""
        if promise.inline is not None:
            return None
        self._polls = self._quick = 0
        self.future.phase = "waiting"
        return self.session.poller if self.session.context.poll_together() else None

    def _await_answer(self, promise: Promise, completion: Completion | None) -> Coroutine[SampleResponse]:
        """Wait for the result, unless its size is known, and fetch it; raises `Expired` where the promise is lost."""
        if promise.inline is not None:
            return result_of(promise.inline)
        size = None if completion is None else completion.size
        if size is None:
            answer = yield from self._poll_until_ready(promise, whole=False)
            if isinstance(answer, SampleResponse):
                self._fetching_since = self.session.context.clock.monotonic()
                return answer
            size = answer.size
        return (yield from self._fetch(promise, size))

    def _fetch(self, promise: Promise, size: int) -> Coroutine[SampleResponse]:
        """Get a result that is known to be there, once its bytes have room."""
        context = self.session.context
        self.future.phase = "fetching"
        most = self._config.max_response_bytes
        lease = yield AcquireBytes(context.response_bytes, min(max(size, _LEAST_ACQUIRED), most))
        self._fetching_since = context.clock.monotonic()
        try:
            answer = yield from self._poll_until_ready(promise, whole=True)
            if isinstance(answer, _wire.MetadataOnly):
                raise APIResponseError("The server answered a request for the result with its size, twice.")
            return answer
        finally:
            lease.release()

    def _poll_until_ready(self, promise: Promise, *, whole: bool) -> Coroutine[SampleResponse | _wire.MetadataOnly]:
        """Poll until there is the result or, unless it must be `whole` and where it is large, its size."""
        context, config = self.session.context, self._config
        answer: Polled | None
        while True:
            asked_at = context.clock.monotonic()
            asks_size = not whole and not context.api.knows_no_metadata
            self._polls += 1
            try:  # what is sent is made on the way into the call: thousands wait in it
                response = yield from context.api.call(
                    RETRIEVE_FUTURE,
                    promise.poll_body(asks_size=asks_size),
                    config,
                    seconds=config.poll_timeout,
                    extra=promise.poll_headers(self._polls) + self.future._header_lines,  # noqa: SLF001
                    high_priority=whole,
                    fresh=self._retry.doubts > 0,
                )
                if context.api.lost_at > promise.made_at and promise.has_guessable_id:
                    yield from self._check_memory()
                answer = self._answer(response)
            except (APIConnectionError, APIResponseError) as error:
                answer = yield from self._poll_failed(error, asked_at)
            else:
                answer = answer or (yield from self._not_answered(response, promise, asks_size, asked_at))
                del response
            if isinstance(answer, _wire.Pending):
                yield from self._not_yet(answer, asked_at)
            elif answer is not None:
                return answer

    def _check_memory(self) -> Coroutine[None]:
        """Believe no answer to a poll if the server was restarted since the promise, and has forgotten it."""
        if (yield from self.session.is_known(self.session.context.api.lost_at)):
            return
        raise RequestFailedError(
            "The server has forgotten the sampling session, perhaps in a restart: what it answers for the number of the"
            " request may be another request's result, and what it had computed is lost.",
            category="server",
        )

    def _answer(self, response: Response) -> Polled | None:
        """Outcome of a poll that was answered with a 2xx; None where the status is another."""
        self._note_answer(response)
        if not 200 <= response.status < 300:
            return None
        kind = response.headers.get("content-type", "")
        answer = self.session.context.api.read(response, _wire.decode_answer, kind, response.body)
        if not isinstance(answer, _wire.Pending | _wire.MetadataOnly):
            answer = result_of(answer)
        self._retry.recovered()
        return answer

    def _poll_failed(self, error: APIConnectionError | APIResponseError, asked_at: float) -> Coroutine[Polled | None]:
        """Outcome of a poll without a readable answer, which another poll may bring at no cost; None: poll again."""
        if isinstance(error, APIResponseError):
            yield from self._sit_out(error, self._budget().doubt(error))
        elif self.session.context.api.is_cut(error, asked_at):
            self._retry.recovered()
            return _wire.Pending()
        else:
            yield from self._back_off(error, attempt=False)
        return None

    def _not_answered(
        self, response: Response, promise: Promise, asked_size: bool, asked_at: float
    ) -> Coroutine[Polled | None]:
        """Outcome of a poll with a status other than 2xx; None: poll again, any pause is over."""
        context, status = self.session.context, response.status
        if asked_size and status == 422 and b"allow_metadata_only" in response.body:
            context.api.knows_no_metadata = True
            return None
        if status == 408:
            body = _wire.decode_error_body(response.headers.get("content-type", ""), response.body)
            self._retry.recovered()
            return _wire.Pending(body.queue_state, body.reason, retry_after(response.headers, context.clock))
        refusal = context.api.refusal(response, request_id=promise.request_id, phase="waiting")
        error, body = refusal.error, refusal.body
        if status == 410:
            raise Expired(error)
        if status == 402 and context.may_wait_for_billing(self._config.billing_wait):
            self._retry.paused(BILLING_PAUSE)
            yield Sleep(context.clock.monotonic() + BILLING_PAUSE)
            return None
        if context.api.is_cut(error, asked_at):
            self._retry.recovered()
            return _wire.Pending()
        is_young = context.clock.monotonic() - promise.made_at < _UNKNOWN_GRACE
        is_homeless = _wire.says_unknown(body.message, self.session.sampling_session_id)
        if (status == 400 and not body.is_json) or (status == 404 and is_young and not is_homeless):
            yield from self._sit_out(error, self._budget().doubt(error))
        elif isinstance(error, APIStatusError) and status == 429 and error.should_retry is not False:
            yield from self._sit_out(error, self._budget().pause(error))
        elif refusal.is_rate_limit and status != 429:
            raise PutOff(refusal)
        elif status in (425, 429) or status >= 500:
            yield from self._back_off(error, attempt=False)
        else:
            raise error
        return None

    def _not_yet(self, pending: _wire.Pending, asked_at: float) -> Coroutine[None]:
        """Pass on what the server says of its queue, and keep a distance to the next poll where it answers at once."""
        if pending.queue_state is not None or pending.reason is not None:
            self._note_queue(QueueState.parse(pending.queue_state), pending.reason)
        now = self.session.context.clock.monotonic()
        if now - asked_at >= _QUICK_ANSWER:
            self._quick = 0
        else:
            interval = self._config.min_poll_interval * (1 + min(self._quick, 12) / 4)
            self._quick += 1
            until = max(asked_at + interval, now + limits.RETRY_PAUSE.apply(pending.retry_after or 0.0))
            if until > now:
                yield Sleep(until)
