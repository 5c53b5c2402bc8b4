"""Sampling client with the methods of the official SDK's."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

from tinkex import SamplingClient
from tinkex._validation.public_names import with_public_names
from tinkex.compat._errors import official_errors
from tinkex.compat._future import CompatFuture
from tinkex.compat._requests import to_model_input, to_sampling_params, to_tensor
from tinkex.compat._responses import from_response
from tinkex.compat._sdk import official


@with_public_names
class CompatSamplingClient:
    """A client of tinkex with the methods, types, futures and errors of the official SDK's `SamplingClient`.

    `ServiceClient.create_sampling_client` gives one before it is ready: await it, ask for its `result()`, or use it at
    once, which waits. It pickles as configuration, without the key. Safe to share between threads, and works in a
    forked child.

    Args:
        client: A sampling client of tinkex, or the future of one.
    """

    def __init__(self, client: SamplingClient | Future[SamplingClient]) -> None:
        sdk = official()
        sdk.APIFuture.register(CompatFuture)  # `isinstance` tells the SDK's from others
        sdk.SamplingClient.register(CompatSamplingClient)
        if isinstance(client, SamplingClient):
            ready: Future[SamplingClient] = Future()
            ready.set_result(client)
            client = ready
        self._creation = CompatFuture(client, _same)

    def sample(
        self,
        prompt: Any,
        num_samples: int,
        sampling_params: Any,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        topk_sample_logprobs: int = 0,
        target_prompt_logprobs: Any = None,
        prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None,
    ) -> CompatFuture[Any]:
        """Begin to sample; the future of a `tinker.SampleResponse`.

        Arguments that the server would refuse are refused here, with a `tinker.BadRequestError` that is a ValueError
        too; one of a wrong type is a TypeError.
        """
        with official_errors():
            future = self._client.sample(
                to_model_input(prompt),
                to_sampling_params(sampling_params),
                num_samples=num_samples,
                include_prompt_logprobs=include_prompt_logprobs,
                topk_prompt_logprobs=topk_prompt_logprobs,
                topk_sample_logprobs=topk_sample_logprobs,
                target_prompt_logprobs=to_tensor(target_prompt_logprobs),
                prompt_alt_tokens_k=prompt_alt_tokens_k,
                prompt_logprobs_last_n=prompt_logprobs_last_n,
            )
        return CompatFuture(future, from_response)

    async def sample_async(self, *args: Any, **options: Any) -> Any:
        """The same as `await sample(...)`."""
        return await self.sample(*args, **options)

    def compute_logprobs(
        self, prompt: Any, prompt_logprobs_last_n: int | None = None
    ) -> CompatFuture[list[float | None]]:
        """Begin to score a prompt; the future of one log-probability a token, None for the first."""
        with official_errors():
            future = self._client.compute_logprobs(
                to_model_input(prompt), prompt_logprobs_last_n=prompt_logprobs_last_n
            )
        return CompatFuture(future, _same)

    async def compute_logprobs_async(self, prompt: Any, prompt_logprobs_last_n: int | None = None) -> Any:
        """The same as `await compute_logprobs(...)`."""
        return await self.compute_logprobs(prompt, prompt_logprobs_last_n)

    def get_base_model(self) -> str:
        """The name of the model under the weights; asks the server where the client was not created with it."""
        with official_errors():
            return self._client.get_base_model()

    async def get_base_model_async(self) -> str:
        """The same in a coroutine; the loop goes on meanwhile."""
        import asyncio

        return await asyncio.to_thread(self.get_base_model)

    def get_tokenizer(self) -> Any:
        """The tokenizer that the SDK loads for the base model: one of transformers."""
        from tinker.lib.public_interfaces.sampling_client import _load_tokenizer_from_model_info as load

        return load(self.get_base_model())

    def get_telemetry(self) -> None:
        """None: tinkex reports to the server by itself."""

    def get_sampler_handle(self) -> str:
        """This client as a line of text, without the key, which the SDK reads too."""
        return self._client.handle()

    @staticmethod
    def from_sampler_handle(handle: str, *, api_key: str | None = None) -> CompatSamplingClient:
        """A client of the sampler that a handle names, of this library or of the SDK."""
        with official_errors():
            return CompatSamplingClient(SamplingClient.from_handle(handle, api_key=api_key))

    def result(self, timeout: float | None = None) -> CompatSamplingClient:
        """This client, once it is ready."""
        self._creation.result(timeout)
        return self

    async def result_async(self, timeout: float | None = None) -> CompatSamplingClient:  # noqa: ASYNC109
        """This client, once it is ready."""
        await self._creation.result_async(timeout)
        return self

    def __await__(self) -> Generator[Any, None, CompatSamplingClient]:
        return self.result_async().__await__()

    async def coroutine(self) -> CompatSamplingClient:
        """This client, once it is ready."""
        return await self

    def future(self) -> Future[CompatSamplingClient]:
        """A standard future of this client."""
        return CompatFuture(self._creation, lambda _: self)

    @property
    def _client(self) -> SamplingClient:
        client: SamplingClient = self._creation.result()
        return client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._creation.result() if self._creation.done() else 'a model to come'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return CompatSamplingClient, (self._client,)


def _same(value: Any) -> Any:
    return value
