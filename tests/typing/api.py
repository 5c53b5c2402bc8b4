"""The public API as a user writes it: checked by mypy, never run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, as_completed, wait

import PIL.Image

import tinkex
import tinkex.otel
import tinkex.prometheus
from tinkex import bulk, instrumentation


class Observer:
    """Any object with this method is an observer."""

    def on_queue_state_change(self, event: tinkex.QueueStateChanged) -> None:
        """Look at every field of the event."""
        state: tinkex.QueueState = event.state
        reason: str | None = event.reason
        seconds: float | None = event.seconds_since
        print(state.value, reason, seconds, event.sampling_session_id, event.request_id, event.previous)


observer: tinkex.QueueStateObserver = Observer()
config = tinkex.ClientConfig(timeout=60.0, workers=4, retry=tinkex.RetryConfig(max_attempts=3))
service = tinkex.ServiceClient(api_key="tml-x", base_url="http://127.0.0.1:1", config=config, observers=[observer])
with tinkex.ServiceClient(user_metadata={"run": 1}, project_id="p", display_name="d") as managed:
    capabilities: tinkex.ServerCapabilities = managed.get_server_capabilities()
    names: list[str] = [model.model_name for model in capabilities.supported_models]

client: tinkex.SamplingClient = service.create_sampling_client(base_model="m", retry_config=tinkex.RetryConfig())
later: Future[tinkex.SamplingClient] = service.create_sampling_client_async(model_path="tinker://run/weights/1")
changed: tinkex.ClientConfig = service.reconfigure(api_key="tml-y", max_in_flight=10)
snapshot: tinkex.ClientConfig = service.config
run: tinkex.TrainingRun = next(service.list_training_runs(page_size=5))
paths: list[str] = [checkpoint.tinker_path for checkpoint in service.list_checkpoints(run.training_run_id)]
total: int | None = service.list_sessions().total
weights_base: str | None = service.weights_info("tinker://run/sampler_weights/1").base_model
stats: tinkex.ServiceStats = service.stats()
health: tinkex.Health = service.health()
in_flight: int = stats.in_flight
ok: bool = health.ok

prompt = tinkex.ModelInput.from_ints([1, 2, 3]).append_int(4).append(tinkex.EncodedTextChunk((5,)))
image = tinkex.ModelInput((tinkex.ImageChunk(b"", "png", expected_tokens=1), tinkex.EncodedTextChunk((1,))))
chat = [{"role": "user", "content": "Hi"}]
talk: tinkex.ModelInput = tinkex.ModelInput.from_messages(
    chat, "org/model", add_generation_prompt=True, tools=[{"type": "function"}], enable_thinking=False
)
drawn: tinkex.ImageChunk = tinkex.ImageChunk.from_pil(PIL.Image.new("RGB", (1, 1)), format="jpeg", expected_tokens=1)
tokens: list[int] = prompt.to_ints()
params = tinkex.SamplingParams(max_tokens=8, seed=1, stop=["\n"], temperature=0.7, top_k=40, top_p=0.9)
targets = tinkex.TensorData.from_list([[1], [2], [3], [4]], dtype="int64")

future: tinkex.SampleFuture[tinkex.SampleResponse] = client.sample(
    prompt,
    params,
    num_samples=2,
    include_prompt_logprobs=True,
    topk_prompt_logprobs=2,
    topk_sample_logprobs=2,
    target_prompt_logprobs=targets,
    prompt_alt_tokens_k=1,
    prompt_logprobs_last_n=2,
    timeout=30.0,
    on_full="raise",
    queue_state_observer=observer,
)
phase: str = future.phase
request_id: str | None = future.request_id
queue_state: tinkex.QueueState | None = future.queue_state
last_heard: float | None = future.last_heard
cancelled: bool = future.cancel()

response: tinkex.SampleResponse = future.result(timeout=1)
sequence: tinkex.SampledSequence = response.sequences[0]
sampled: list[int] = sequence.tokens
made = tinkex.SampleResponse(
    [tinkex.SampledSequence([5, 7], logprobs=[-0.5, -1.0], topk_logprobs=[[(5, -0.5)], [(7, -1.0)]])],
    prompt_logprobs=[None, -1.0],
    topk_prompt_logprobs=[None, [(1, -1.0)]],
)
logprobs: list[float] | None = sequence.logprobs
stop_reason: str = sequence.stop_reason
prompt_logprobs: list[float | None] | None = response.prompt_logprobs
usage: tinkex.Usage | None = response.usage
timing: tinkex.Timing | None = response.timing

scores: tinkex.SampleFuture[list[float | None]] = client.compute_logprobs([1, 2, 3], timeout=5)
done, pending = wait([future], timeout=1)
for finished in as_completed([future]):
    print(finished.result().sequences)


written: tinkex.SampleFuture[tinkex.TextResponse] = client.complete("Hello", max_tokens=8, temperature=0.5, stop=["\n"])
first_text: str = written.result().text
all_texts: list[str] = [each.text for each in client.complete("Hello", params, num_samples=2, timeout=5).result()]
answered: tinkex.ChatResponse = client.chat(chat, params, tools=[{"type": "function"}], tokenizer="org/model").result()
next_prompt: tinkex.ModelInput = answered[0].extend([answered.message])
likelihoods: tinkex.ScoreResponse = client.score("It is", [" wet", " dry"], on_full="raise").result()
best: int | None = likelihoods.best
of_the_first: float = likelihoods[0].mean_logprob
client.score([1, 2], [[3], [4]]).cancel()
client.score(chat, "Yes").result()
client.complete("Hello", max_tokns=8)  # type: ignore[call-arg]
client.sample([1])  # type: ignore[call-arg]
service.create_sampling_client("org/model")  # type: ignore[call-arg]


async def from_asyncio() -> tinkex.SampleResponse:
    """A sample can be awaited."""
    return await asyncio.wrap_future(client.sample([1], params))


in_order: Iterator[object] = client.sample_many([[1, 2], {"prompt": [3], "num_samples": 2}], params, max_in_flight=8)
handle: str = client.handle()
attached: tinkex.SamplingClient = tinkex.SamplingClient.from_handle(handle, api_key="tml-x")
base_model: str = client.get_base_model()

try:
    future.result()
except tinkex.SampleTimeoutError as error:
    print(error.phase, error.request_id, error.last_status, error.attempts, error.may_have_run)
except tinkex.RateLimitError as error:
    print(error.retry_after, error.status)
except tinkex.APIStatusError as error:
    print(error.status, error.body, error.request_id)
except tinkex.RequestFailedError as error:
    print(error.category)
except tinkex.QueueFullError as error:
    print(error.retry_after)
except (tinkex.ClientClosedError, tinkex.ForkedFutureError, tinkex.MissingFeatureError, tinkex.APIConnectionError):
    pass
except tinkex.TinkexError:
    pass

client.close()
service.close(timeout=5.0, cancel_pending=True)

tinkex.no_such_name  # type: ignore[attr-defined] # noqa: B018 - names are loaded late, and still known to a checker
parsed: tinkex.types.ModelInput = tinkex.ModelInput.empty()
refused: type[Exception] = tinkex.errors.RateLimitError


class Samples(instrumentation.SampleObserver):
    """An instrumentation of samples, and the observer of each."""

    def begin(self, start: instrumentation.SampleStarted) -> instrumentation.SampleObserver | None:
        """Look at every field of the event."""
        print(start.request.num_samples, start.model, start.base_url, start.sampling_session_id, start.service.stats())
        return self

    def retrying(self, event: instrumentation.SampleRetry) -> None:
        """Look at every field of the event."""
        print(event.error, event.phase, event.attempt, event.delay, event.pause)

    def ended(self, end: instrumentation.SampleEnded) -> None:
        """Look at every field of the event."""
        response: tinkex.SampleResponse | None = end.response
        print(response, end.error, end.seconds, end.attempts, end.outcome, end.error_type)


instrumentation.install(Samples())
service.install(Samples())
instrumentation.install("statsd")  # type: ignore[arg-type]
tinkex.otel.instrument(service, propagate_to=["https://tinker.example.com"])
tinkex.prometheus.instrument()


def whole_files(client: tinkex.SamplingClient) -> None:
    """A file through one model, and another through two."""
    limits = bulk.Limits(requests_per_minute=600)
    summary: bulk.Summary = bulk.run("in.jsonl", "out.jsonl", client, max_tokens=8, limits=limits)
    rows = [{"id": "a", "prompt": [1, 2]}]
    bulk.run(rows, "out.csv", {"one": client, "two": client}, score=True, on_progress=lambda told: print(told.done))
    failed: int = summary.failed
    print(failed)
