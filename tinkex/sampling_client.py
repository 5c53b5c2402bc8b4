"""Sampling client: samples and log-probabilities from one model."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from tinkex import _wire
from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex._concurrency.fork_locks import new_lock
from tinkex._concurrency.instrumentation_list import PROCESS
from tinkex._runtime.task import Coroutine
from tinkex._sampling import stream
from tinkex._sampling._sample.observed import ObservedFuture
from tinkex._sampling._text.calls import TextSampling
from tinkex._sampling.sample import Sample
from tinkex._sampling.session import SamplingSession
from tinkex._sampling.submission import check_context, submit
from tinkex._service.handle import Handle
from tinkex._service.lifecycle import ServiceLifecycle, ServiceReference, is_exiting
from tinkex._service.runtime import ServiceRuntime
from tinkex._validation.arguments import check_choice, check_count, check_observer, check_timeout
from tinkex._validation.calls import explained
from tinkex.config import ClientConfig, RetryConfig, config_from_env
from tinkex.errors import ClientClosedError, CredentialError, MissingFeatureError
from tinkex.future import ClientFuture, SampleFuture
from tinkex.queue_state import QueueStateObserver
from tinkex.telemetry import Telemetry
from tinkex.types import ModelInput, SampleRequest, SampleResponse, SamplingParams, TensorData
from tinkex.types.request import not_tokens

if TYPE_CHECKING:
    from tinkex.tokenizers import Tokenizer
    from tinkex.types import ServiceStats

T = TypeVar("T")

_MANY = 1000
_MADE_BY = "by ServiceClient.create_sampling_client(base_model=...), which makes sampling clients"


class SamplingClient(TextSampling):
    """Samples from one model. Made by `ServiceClient.create_sampling_client`; safe to share between threads.

    It pickles as configuration, without the key: the copy takes its key from the environment of its own process.
    """

    @explained(reference=_MADE_BY, identity=_MADE_BY)
    def __init__(
        self, reference: ServiceReference, identity: Handle, *, original: bool, retry: RetryConfig | None,
        observers: tuple[QueueStateObserver, ...] = (),
    ) -> None:  # fmt: skip
        self._lifecycle = reference.lifecycle
        self._reference = reference
        self._identity = identity
        self._retry = retry
        self._observers = observers
        self._closed = False
        self._session: SamplingSession = self._make_session(reference.lifecycle.start(), original=original)

    @property
    def sampling_session_id(self) -> str:
        """The server's id for this client's use of the model; another after the server has forgotten the first."""
        return self._session.latest.sampling_session_id

    @property
    def model_path(self) -> str | None:
        """The saved weights that this client was created with; None for a base model, or a session's own model."""
        return self._identity.model_path

    @staticmethod
    def create_async(service: Any, **options: Any) -> Future[SamplingClient]:
        """The same as `service.create_sampling_client_async(**options)`."""
        future: Future[SamplingClient] = service.create_sampling_client_async(**options)
        return future

    @staticmethod
    def from_handle(handle: str, *, api_key: str | None = None) -> SamplingClient:
        """Attach to the sampling session that `handle` names; handles of the official SDK are read too.

        The key from the environment is only used for a server that the environment, or the default, names too: for any
        other, pass `api_key`. Raises ValueError for text that is no handle. Sends nothing itself.
        """
        identity = Handle.decode(handle)
        usual = config_from_env().base_url
        if identity.base_url != usual and api_key is None:
            raise CredentialError(
                f"The handle names {identity.base_url}, the configuration {usual}. No key of the environment goes to a"
                " server that only a handle names: pass api_key."
            )
        config = config_from_env(base_url=identity.base_url, api_key=api_key)
        return _attached(ServiceReference(_lifecycle_of(config), warn=False), identity, None)

    @explained(
        prompt="token ids, as in sample([791, 6864], tinkex.SamplingParams(max_tokens=256))",
        sampling_params="how to sample, as in sample(prompt, tinkex.SamplingParams(max_tokens=256))",
        fields={"tinkex.SamplingParams(...)": SamplingParams.__match_args__},
        misplaced=not_tokens,
    )
    def sample(
        self, prompt: ModelInput | Iterable[int], sampling_params: SamplingParams, *, num_samples: int = 1,
        include_prompt_logprobs: bool = False, topk_prompt_logprobs: int = 0, topk_sample_logprobs: int = 0,
        target_prompt_logprobs: TensorData | None = None, prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None, timeout: float | None = None, on_full: str | None = None,
        queue_state_observer: QueueStateObserver | None = None,
    ) -> SampleFuture[SampleResponse]:  # fmt: skip
        """Begin to sample, and return the future of the result.

        Args:
            prompt: A `ModelInput`, or token ids as any iterable or NumPy array; a list is copied.
            sampling_params: How to sample; `max_tokens` is required.
            num_samples: How many sequences to draw from the prompt.
            include_prompt_logprobs: Ask for the log-probability of every prompt token (the first has none).
            topk_prompt_logprobs: Ask for this many likeliest tokens at every prompt position; 0 for none.
            topk_sample_logprobs: The same for every sampled position.
            target_prompt_logprobs: Token ids to score at every prompt position but the first: an int64 `TensorData` of
                shape (prompt length - 1, K), dense or CSR.
            prompt_alt_tokens_k: Draw this many alternatives at every prompt position but the first; 0 for none.
            prompt_logprobs_last_n: Score the last n prompt tokens only; None for all.
            timeout: The sample's deadline in seconds, over queueing, sending, waiting and retries. None: the configured
                `timeout`; `float("inf")`: none.
            on_full: "block" or "raise" where the queue is full; None: as configured.
            queue_state_observer: Told about this sample's queue, besides the observers of the client and the service.

        Raises:
            TypeError, ValueError: An argument is wrong; the text names it. Nothing was sent.
            QueueFullError: The queue is full and `on_full` is "raise".
            ClientClosedError: This client or its service is closed.

        The future raises a `TinkexError` of the kinds that the page on errors lists, or `CancelledError`. Safe in any
        thread, also in callbacks.
        """
        request = SampleRequest(
            prompt, sampling_params, num_samples, include_prompt_logprobs, topk_prompt_logprobs, topk_sample_logprobs,
            target_prompt_logprobs, prompt_alt_tokens_k, prompt_logprobs_last_n,
        )  # fmt: skip
        return self._begin(request, timeout, on_full, queue_state_observer, None)

    def compute_logprobs(
        self,
        prompt: ModelInput | Iterable[int],
        *,
        prompt_logprobs_last_n: int | None = None,
        timeout: float | None = None,
        queue_state_observer: QueueStateObserver | None = None,
    ) -> SampleFuture[list[float | None]]:
        """Begin to score a prompt; the future gives one log-probability a token, None for the first.

        Arguments and errors are those of `sample`. One token is sampled and thrown away: servers require it.
        """
        request = SampleRequest(
            prompt, _ONE_TOKEN, include_prompt_logprobs=True, prompt_logprobs_last_n=prompt_logprobs_last_n
        )
        return self._begin(request, timeout, None, queue_state_observer, _prompt_logprobs)

    def sample_many(
        self,
        items: Iterable[Any],
        sampling_params: SamplingParams | None = None,
        *,
        call: Callable[..., ClientFuture[Any]] | None = None,
        max_in_flight: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **defaults: Any,
    ) -> Iterator[Any]:
        """Sample a stream of items lazily, a bounded number at once.

        Args:
            items: Prompts, mappings of the call's keywords, or `SampleRequest`s; read only as far as needed.
            sampling_params: For items that bring none.
            call: What begins an item: this client's `complete` for texts, `chat` for messages, `score`; or a function
                of your own that returns their futures. None means `sample`.
            max_in_flight: How many at once; None: 1,000, or `max_in_flight` of the configuration if that is less.
            ordered: Yield results in the order of the items; else pairs (index, result) as they come.
            return_exceptions: Yield an item's error in its place instead of raising it.
            **defaults: Further keywords of the call for items that bring none.

        When the consumer stops, or an error is raised, what is still in flight is cancelled.
        """
        most = min(_MANY, self._lifecycle.config.current.max_in_flight) if max_in_flight is None else max_in_flight
        check_count("max_in_flight", most, 1)
        stream.check_stream(items, call)
        if sampling_params is not None:
            defaults["sampling_params"] = sampling_params
        run = stream.in_order if ordered else stream.as_completed
        return run(
            items,
            lambda item: stream.begin(call or self.sample, item, defaults),
            most,
            return_exceptions=return_exceptions,
            abandon=self._abandon,
        )

    def _abandon(self, futures: Iterable[Future[SampleResponse]]) -> None:
        runtime = self._lifecycle.runtime
        if runtime is not None:
            runtime.workers.put(stream.Abandoned(futures))

    def _describe_sampler(self, timeout: float | None = None) -> Mapping[str, Any]:
        """What the server tells of this sampler: base_model, and model_path for saved weights."""
        future = self._lifecycle.run(
            lambda: self._lifecycle.start().session.describe_sampler(self.sampling_session_id),
            timeout,
            "get_base_model",
        )
        return future.result()

    def get_base_model(self, *, timeout: float | None = None) -> str:
        """The name of the model under the weights; asks the server where this client does not know. Blocks.

        Raises NotFoundError or MissingFeatureError where the server does not tell.
        """
        if self._identity.base_model is None:
            answer = self._describe_sampler(timeout)
            base_model = answer.get("base_model")
            if not isinstance(base_model, str) or not base_model:
                raise MissingFeatureError(
                    "The server does not tell the base model of this sampler. Pass a tokenizer of your own."
                )
            tokenizer_id = _wire.identifier(answer.get("tokenizer_id")) or self._identity.tokenizer_id
            self._identity = attrs.evolve(self._identity, base_model=base_model, tokenizer_id=tokenizer_id)
        assert self._identity.base_model is not None
        return self._identity.base_model

    def get_model_name(self, *, timeout: float | None = None) -> str:
        """What tells this client's model from others: as it was created, the base model, the weights, or both with "+".

        Asks the server, and blocks, for a client of a session id, or of a handle or pickle that does not say it. Raises
        NotFoundError or MissingFeatureError where the server does not tell.
        """
        if self._identity.model_name is not None:
            return self._identity.model_name
        answer = self._describe_sampler(timeout)
        name = answer.get("model_path") or answer.get("base_model")
        if not isinstance(name, str):
            raise MissingFeatureError("The server does not tell which model this sampler is of.")
        return name

    def get_tokenizer(self, *, timeout: float | None = None) -> Tokenizer:
        """The tokenizer of the base model; needs the `tokenizers` extra. Blocks; later calls are quick.

        A server may name another one, as a `tinkex.testing.FakeServer` names its toy, which needs no extra.
        `timeout` bounds the question to the server, where one is needed, not a download.
        """
        if self._reference.keeps is not None:
            local: Tokenizer = self._reference.keeps.get_tokenizer()
            return local
        from tinkex.tokenizers import model_tokenizer  # not every program needs it

        name = self._identity.tokenizer_id or self.get_base_model(timeout=timeout)
        return model_tokenizer(self._identity.tokenizer_id or name)  # the server may have named it just now

    def get_telemetry(self) -> Telemetry | None:
        """The reporter of the service; None where telemetry is off, or before the session begins."""
        runtime = self._lifecycle.runtime
        return None if runtime is None else runtime.telemetry.telemetry

    def stats(self) -> ServiceStats:
        """Statistics of the service at this moment; never blocks."""
        return self._lifecycle.stats()

    def handle(self) -> str:
        """This client as a line of text, for `from_handle` in another process. It holds no key."""
        return self._present_identity().encode()

    def close(self) -> None:
        """Accept no more samples; those under way go on, and the service stays open. Idempotent."""
        self._closed = True

    def __repr__(self) -> str:
        return f"<SamplingClient of {self._identity.base_model or 'a model'}, session {self.sampling_session_id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self._lifecycle.config.current.without_secrets(), self._present_identity(), self._retry)

    def _begin(
        self, request: SampleRequest, timeout: float | None, on_full: str | None, observer: QueueStateObserver | None,
        finish: Callable[[SampleResponse], Any] | None,
    ) -> SampleFuture[Any]:  # fmt: skip
        """Validate and queue a sample, in the caller's thread; nothing here waits, except for room in a full queue."""
        lifecycle = self._lifecycle
        config = lifecycle.config.current
        seconds = config.timeout if timeout is None else check_timeout(timeout)
        on_full = config.on_full if on_full is None else check_choice("on_full", on_full, "block", "raise")
        observers = self._observers
        if observer is not None:
            check_observer("queue_state_observer", observer)
            observers = (*observers, observer)
        if self._closed:
            raise ClientClosedError("This sampling client is closed: make a new one.")
        runtime = lifecycle.start()
        if lengths := runtime.session.context_lengths:
            self._check_context(request, lengths)
        session = self._session.latest
        if session.context is not runtime.sampling:
            session = self._move(runtime)
        future: SampleFuture[Any]
        if PROCESS.current or lifecycle.instrumentations.current:
            from tinkex.instrumentation import SampleStarted  # loaded when the first was installed

            of, sampler = self._identity, session.sampling_session_id
            start = SampleStarted(request, of.base_model, of.model_path, config.base_url, sampler, lifecycle)
            future = observed = ObservedFuture(runtime.callbacks, runtime.clock)
            observed.begin((*PROCESS.current, *lifecycle.instrumentations.current), start)
            finish = observed.keeping(finish)
        else:
            future = SampleFuture(runtime.callbacks)
        sample = Sample(session, request, config, future, self._retry or config.retry, observers, self._reference)
        task = submit(sample, finish, seconds, on_full)
        if lifecycle.closed:  # closed in between, perhaps too early to see this sample
            task.fail(ClientClosedError())
        return future

    def _run(self, coroutine: Callable[[], Coroutine[T]]) -> ClientFuture[T]:
        """Run a coroutine that waits for samples, which have deadlines of their own."""
        return self._lifecycle.run(coroutine, float("inf"), "score")

    def _check_context(self, request: SampleRequest, lengths: Mapping[str, int]) -> None:
        """Refuse what cannot fit, where the server's capabilities are known by now."""
        model = self._identity.base_model
        if limit := lengths.get(model or ""):
            check_context(request, limit, model)

    def _make_session(self, runtime: ServiceRuntime, *, original: bool) -> SamplingSession:
        identity = self._identity
        return runtime.sampling_session(
            identity.sampling_session_id, original=original, record_stability_info=identity.record_stability_info,
            model=identity.model,
        )  # fmt: skip

    def _present_identity(self) -> Handle:
        session, identity = self._session.latest, self._identity
        return attrs.evolve(
            identity,
            sampling_session_id=session.sampling_session_id,
            session_id=session.session_id or identity.session_id,
        )

    def _move(self, runtime: ServiceRuntime) -> SamplingSession:
        """After a fork: go on as a clone, with sequence numbers of this process's own."""
        with runtime.sampling.joining:
            if self._session.context is not runtime.sampling:
                self._identity = self._present_identity()
                self._session = self._make_session(runtime, original=False)
                if self._identity.session_id is not None:
                    runtime.session.heartbeats.keep_alive(self._identity.session_id)
            return self._session


def _rebuilt(config: ClientConfig, identity: Handle, retry: RetryConfig | None) -> SamplingClient:
    """A sampling client from its pickle; the key comes from the environment it is in now.

    Those of one process and configuration share a service. What stands for the configuration holds no secret.
    """
    name = repr(config)
    while True:
        lifecycle = _lifecycles.get(name)
        if lifecycle is None or lifecycle.closed:
            made = _lifecycle_of(config_from_env(base=config, base_url=config.base_url))  # reads files: no lock is held
            with _rebuilding:
                lifecycle = _lifecycles.get(name)
                if lifecycle is None or lifecycle.closed:
                    _lifecycles[name] = lifecycle = made
        try:
            return _attached(ServiceReference(lifecycle, warn=False), identity, retry)
        except ClientClosedError:  # its last client has just gone, and it with it
            if is_exiting():
                raise
            with _rebuilding:
                if _lifecycles.get(name) is lifecycle:
                    del _lifecycles[name]


def _lifecycle_of(config: ClientConfig) -> ServiceLifecycle:
    return ServiceLifecycle(config, (), SYSTEM_CLOCK)


def _attached(reference: ServiceReference, identity: Handle, retry: RetryConfig | None) -> SamplingClient:
    """A client of a sampling session that another process or client created."""
    client = SamplingClient(reference, identity, original=False, retry=retry)
    if identity.session_id is not None:
        reference.lifecycle.start().session.heartbeats.keep_alive(identity.session_id)
    return client


_rebuilding = new_lock()  # guards _lifecycles
_lifecycles: weakref.WeakValueDictionary[str, ServiceLifecycle] = weakref.WeakValueDictionary()


def _prompt_logprobs(response: SampleResponse) -> list[float | None]:
    assert response.prompt_logprobs is not None  # finish_response has seen to it
    return response.prompt_logprobs


_ONE_TOKEN = SamplingParams(max_tokens=1)
