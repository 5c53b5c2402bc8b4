"""Samples of the gateway: the fields that all endpoints share, and waiting for results without a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from tinkex.chat.openai_format import usage_object
from tinkex.serve.dialect.fields import BodyFields, refused
from tinkex.serve.errors import GatewayError
from tinkex.serve.models import ServedModel
from tinkex.types import ModelInput, SampleResponse, SamplingParams


@frozen(kw_only=True)
class SamplingFields:
    """The fields of a request about how to sample, and what to say of the result."""

    model: str | None
    num_samples: int
    stops: tuple[str, ...]
    stop_tokens: tuple[int, ...]
    drawing: dict[str, Any]
    """Those that `SamplingParams` has under the same names, unchecked."""
    prompt_logprobs: int | None
    """How many of the likeliest tokens of the prompt; None for no log-probabilities."""
    stream: bool
    stream_usage: bool
    token_ids: bool
    tokens_by_id: bool
    """Whether tokens go by ``token_id:N``."""

    @classmethod
    def read(cls, fields: BodyFields) -> SamplingFields:
        """Take the fields out of a body."""
        stream, options = fields.flag("stream"), fields.any("stream_options")
        if options is not None and not (stream and isinstance(options, dict)):
            raise refused("stream_options", "must be an object, and is for requests that stream")
        for name, value in (options or {}).items():
            if name not in ("include_usage", "include_obfuscation") or not isinstance(value, bool | None):
                raise refused("stream_options", f"has an option that is not offered, or no boolean: {name}")
        stops, stop_tokens = fields.stops(), tuple(fields.token_ids("stop_token_ids") or ())
        if stops and stop_tokens:
            raise refused("stop_token_ids", "cannot be had together with stop: the server takes texts or tokens")
        drawing = {name: fields.any(name) for name in ("seed", "temperature", "top_p", "top_k")}
        return cls(
            model=fields.text("model"),
            num_samples=fields.count("n", least=1) or 1,
            stops=stops,
            stop_tokens=stop_tokens,
            drawing={name: value for name, value in drawing.items() if value is not None},
            prompt_logprobs=fields.count("prompt_logprobs"),
            stream=stream,
            stream_usage=bool((options or {}).get("include_usage")),
            token_ids=fields.flag("return_token_ids"),
            tokens_by_id=fields.flag("return_tokens_as_token_ids"),
        )

    def params(self, max_tokens: int, stop: Sequence[str] | Sequence[int] | None = None) -> SamplingParams:
        """Return the sampling parameters; no stop means the model's own end token."""
        return SamplingParams(
            max_tokens=max_tokens, stop=stop or self.stops or self.stop_tokens or None, **self.drawing
        )


async def sample_prompts(
    model: ServedModel, prompts: Sequence[ModelInput], params: SamplingParams, seconds: float | None, **options: Any
) -> list[SampleResponse]:
    """Sample from every prompt at once; the first error ends all, as does a client that hangs up.

    Args:
        model: Where to sample.
        prompts: What to sample from.
        params: How to sample.
        seconds: The deadline; None for the deadline that the service is configured with.
        options: Further arguments of `SamplingClient.sample`.
    """
    futures: list[asyncio.Future[SampleResponse]] = []
    try:
        for prompt in prompts:
            future = model.client.sample(prompt, params, timeout=seconds, on_full="raise", **options)
            futures.append(asyncio.wrap_future(future))
        return [await futures[0]] if len(futures) == 1 else await asyncio.gather(*futures)
    finally:
        for waiting in futures:
            if not waiting.cancel() and not waiting.cancelled():
                waiting.exception()  # or asyncio would complain of errors that nothing has asked for


def room_for(model: ServedModel, prompts: Sequence[ModelInput], max_tokens: int | None) -> int | None:
    """Return how many tokens an answer may have, after the longest prompt; None where that is not known.

    Raises:
        GatewayError: 400 ``context_length_exceeded``: the answer, of at least `max_tokens`, does not fit.
    """
    lengths = [prompt.known_length for prompt in prompts]
    longest = max((length for length in lengths if length is not None), default=0)
    if model.max_context_length is None or None in lengths:
        return None
    room, wanted = model.max_context_length - longest, max_tokens or 1
    if room < wanted:
        raise GatewayError(
            400,
            f"This model's maximum context length is {model.max_context_length} tokens. However, you requested"
            f" {longest + wanted} tokens ({longest} in the messages, {wanted} in the completion). Please reduce the"
            " length of the messages or completion.",
            "messages" if max_tokens is None else "max_tokens",
            "context_length_exceeded",
        )
    return room


def total_usage(responses: Sequence[SampleResponse], *, counts_samples: bool = True) -> dict[str, Any]:
    """Return the usage of several samples together."""
    used = [response.usage for response in responses if response.usage is not None]
    sampled = sum(each.sampled_tokens for each in used) if counts_samples else 0
    return usage_object(sum(each.prompt_tokens for each in used), sampled, sum(e.prompt_cache_hit_tokens for e in used))
