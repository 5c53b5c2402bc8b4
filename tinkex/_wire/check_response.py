"""Check a sample's response against its request, and normalise its form: the last step of a sample."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from tinkex.errors import APIResponseError, MissingFeatureError
from tinkex.types import (
    EncodedTextChunk,
    ModelInput,
    PromptAltTokens,
    SampledSequence,
    SampleRequest,
    SampleResponse,
    TensorData,
    Timing,
    TopkLogprobs,
    Usage,
)
from tinkex.types._forms.columns import Column, OptionalColumn


def finish_response(
    response: SampleResponse,
    request: SampleRequest,
    request_id: str | None = None,
    sequence_ids: Sequence[str] | None = None,
    timing: Timing | None = None,
) -> SampleResponse:
    """Return the response in the agreed form, with its ids, usage and timing.

    Servers that score only the tokens after the first get the undefined first entry added.

    Raises:
        MissingFeatureError: Something that was asked for is not there; the server does not know the option.
        APIResponseError: What is there does not fit the request.

    Both carry the response: it may have been paid for.
    """
    try:
        length = _text_length(request)
        return response._finished(  # noqa: SLF001 - checked just now, so not again
            sequences=_sequences(response.sequences, request, sequence_ids),
            prompt_logprobs=_prompt_logprobs(response, request, length),
            topk_prompt_logprobs=_topk_prompt_logprobs(response, request, length),
            target_prompt_logprobs=_targets(response, request),
            prompt_alt_tokens=_alternatives(response, request, length),
            request_id=request_id,
            usage=_usage(response, request),
            timing=timing,
        )
    except (MissingFeatureError, APIResponseError) as error:
        error.request_id, error.may_have_run = request_id, True
        error.response = evolve(response, request_id=request_id, usage=_usage(response, request), timing=timing)
        raise


def _text_length(request: SampleRequest) -> int | None:
    """Return the prompt's length; None with pictures or audio, of which the server may count otherwise."""
    for chunk in request.prompt.chunks:
        if not isinstance(chunk, EncodedTextChunk):
            return None
    return request.prompt.known_length


def _sequences(
    sequences: tuple[SampledSequence, ...], request: SampleRequest, ids: Sequence[str] | None
) -> tuple[SampledSequence, ...]:
    if len(sequences) != request.num_samples:
        raise APIResponseError(f"The server sent {len(sequences)} sequences for num_samples={request.num_samples}.")
    most = request.sampling_params.max_tokens
    longest = max([sequence.length for sequence in sequences])
    if most is not None and longest > most:
        raise APIResponseError(
            f"The server sent {longest} tokens for max_tokens={most}: that is ignored, or this is another's result."
        )
    if request.topk_sample_logprobs:
        sequences = tuple([_with_topk(sequence) for sequence in sequences])
    if ids is None or len(ids) != len(sequences):
        return sequences
    return tuple([sequence.with_id(each) for sequence, each in zip(sequences, ids, strict=True)])


def _with_topk(sequence: SampledSequence) -> SampledSequence:
    if sequence.topk_logprobs is not None:
        return sequence
    if sequence.length:
        raise _missing("topk_sample_logprobs")
    return evolve(sequence, topk_logprobs=TopkLogprobs([]))


def _prompt_logprobs(response: SampleResponse, request: SampleRequest, length: int | None) -> Column | None:
    column = response._prompt_logprobs  # noqa: SLF001 - asking for the list would make it
    asked = request.include_prompt_logprobs
    if not column:
        return OptionalColumn([None]) if asked and _are_undefined("prompt_logprobs", length) else None
    assert isinstance(column, OptionalColumn)
    if length is not None and len(column) == length - 1:
        column = column.shifted()
    if asked:
        _check_rows("prompt_logprobs", len(column), length)
        _check_last_n(column.values if request.prompt_logprobs_last_n else (), request, length)
    return column


def _topk_prompt_logprobs(response: SampleResponse, request: SampleRequest, length: int | None) -> TopkLogprobs | None:
    topk = response.topk_prompt_logprobs
    asked = request.topk_prompt_logprobs > 0
    if not topk:
        return TopkLogprobs([None]) if asked and _are_undefined("topk_prompt_logprobs", length) else None
    if length is not None and len(topk) == length - 1:
        topk = topk.shifted()
    if asked:
        _check_rows("topk_prompt_logprobs", len(topk), length)
        _check_last_n(topk.rows if request.prompt_logprobs_last_n else (), request, length)
    return topk


def _are_undefined(name: str, length: int | None) -> bool:
    """Whether there can be no scores: a prompt of one token has none that are defined; raises where there are none."""
    if length != 1:
        raise _missing(name)
    return True


def _check_rows(name: str, count: int, length: int | None) -> None:
    if length is not None and count != length:
        raise APIResponseError(f"The server sent {count} {name} for a prompt of {length} tokens.")


def _check_last_n(values: Sequence[object], request: SampleRequest, length: int | None) -> None:
    last_n = request.prompt_logprobs_last_n
    if last_n is not None and length is not None and any(value is not None for value in values[: length - last_n]):
        raise _missing("prompt_logprobs_last_n")


def _targets(response: SampleResponse, request: SampleRequest) -> TensorData | None:
    asked, came = request.target_prompt_logprobs, response.target_prompt_logprobs
    if asked is None:
        return None  # unasked for, its shape cannot be checked: a sparse one may promise any number of columns
    if came is None:
        raise _missing("target_prompt_logprobs")
    if _layout(came) != ("float32", *_layout(asked)[1:]):
        raise APIResponseError("The server's target_prompt_logprobs have another shape or layout than was asked for.")
    return came


def _layout(tensor: TensorData) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, tensor.sparse_crow_indices, tensor.sparse_col_indices


def _alternatives(response: SampleResponse, request: SampleRequest, length: int | None) -> PromptAltTokens | None:
    k, came = request.prompt_alt_tokens_k, response.prompt_alt_tokens
    if not k:
        return None
    if came is None:
        raise _missing("prompt_alt_tokens_k")
    shape = (came.tokens.shape[0] if length is None and came.tokens.shape else (length or 1) - 1, k)
    if _layout(came.tokens) != ("int64", shape, None, None) or _layout(came.logprobs) != ("float32", shape, None, None):
        raise APIResponseError("The server's prompt_alt_tokens have another shape than was asked for.")
    return came


def _usage(response: SampleResponse, request: SampleRequest) -> Usage:
    prompt, sampled = request.prompt.known_length, 0
    if prompt is None:
        prompt = sum([ModelInput((chunk,)).known_length or 0 for chunk in request.prompt.chunks])
    for sequence in response.sequences:
        sampled += sequence.length
    return Usage(prompt, sampled, response.prompt_cache_hit_tokens)


def _missing(name: str) -> MissingFeatureError:
    return MissingFeatureError(
        f"{name} was asked for, but the server's answer comes without it: the server does not know this option. "
        "Sample without it, or on another server."
    )
