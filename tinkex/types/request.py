"""Sample request: everything about one sample, validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import INT32_MAX, flag, shown, whole
from tinkex.types.model_input import ModelInput
from tinkex.types.params import SamplingParams
from tinkex.types.tensor import TensorData

_ONE, _NONE = 1, 0  # what counts are compared with by identity, since True is 1 as well


def _prompt(value: Any) -> ModelInput:
    if isinstance(value, ModelInput):
        return value
    if _is_of_the_sdk(value, "ModelInput"):
        raise TypeError(
            "prompt must be a ModelInput of tinkex, got one of the tinker SDK:"
            " pass tinkex.ModelInput.from_ints(prompt.to_ints())"
        )
    if (error := not_tokens(value)) is not None:
        raise error
    return ModelInput.from_ints(value)


def not_tokens(value: object) -> TypeError | None:
    """Return the error of a text or of messages in place of token ids, which names the calls that take them."""
    if isinstance(value, str):
        return TypeError(
            f"prompt must be token ids, got the text {shown(value)}: client.complete(text, ...) samples from a text,"
            " sample_many(texts, call=client.complete) from many, and ModelInput.from_text makes a prompt of one"
        )
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and value and isinstance(value[0], Mapping)):
        return TypeError(
            f"prompt must be token ids, got messages, {shown(value)}: client.chat(messages, ...) samples an answer,"
            " sample_many(..., call=client.chat) many, and ModelInput.from_messages makes a prompt of them"
        )
    return None


def _is_of_the_sdk(value: object, name: str) -> bool:
    """Whether a value is of the class that the official SDK has under the same name."""
    kind = type(value)
    return kind.__name__ == name and kind.__module__.partition(".")[0] == "tinker"


def _no_params(value: object) -> TypeError:
    if _is_of_the_sdk(value, "SamplingParams"):
        return TypeError(
            "sampling_params must be SamplingParams of tinkex, got those of the tinker SDK:"
            " pass tinkex.SamplingParams(**sampling_params.model_dump())"
        )
    instead = "**sampling_params" if isinstance(value, Mapping) else "max_tokens=..."
    return TypeError(
        f"sampling_params must be SamplingParams, got {shown(value)}: pass tinkex.SamplingParams({instead})"
    )


@with_field_docs
@frozen(eq=False, repr=False)
class SampleRequest(Fieldwise):
    """Validated request for one sample; all checks run here, once. Immutable; safe to share between threads.

    - *prompt*: a `ModelInput`, or token ids in any form `ModelInput.from_ints` takes; not empty.
    - *sampling_params*: how to draw; its `max_tokens` must be set.
    - *num_samples*: how many sequences, at least 1.
    - *include_prompt_logprobs*: score each prompt token.
    - *topk_prompt_logprobs*, *topk_sample_logprobs*: that many likeliest tokens at each position; 0 for none.
    - *target_prompt_logprobs*: an int64 tensor of shape `(len(prompt) - 1, K)`, dense or CSR: row i names the ids to
      score at prompt position i + 1, and -1 names none.
    - *prompt_alt_tokens_k*: that many draws at each prompt position after the first; 0 for none.
    - *prompt_logprobs_last_n*: score only the last n prompt tokens, 1 to len(prompt) - 1; None for all.

    Raises:
        TypeError: A field has the wrong type; the message names it.
        ValueError: A field is out of range, or missing; the message names it.

    >>> SampleRequest([1, 2, 3], SamplingParams(max_tokens=16)).num_samples
    1
    """

    prompt: ModelInput = field(converter=_prompt)
    sampling_params: SamplingParams
    num_samples: int = 1
    include_prompt_logprobs: bool = False
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_logprobs: TensorData | None = None
    prompt_alt_tokens_k: int = 0
    prompt_logprobs_last_n: int | None = None

    def __attrs_post_init__(self) -> None:
        # Every sample passes here: what is left at its default, the least there is, needs no check.
        length = self.prompt.known_length
        if length == 0:
            raise ValueError("prompt must not be empty")
        params = self.sampling_params
        if not isinstance(params, SamplingParams):
            raise _no_params(params)
        if params.max_tokens is None:
            raise ValueError("max_tokens must be set in sampling_params: servers refuse a sample without it")
        if self.num_samples is not _ONE or self.topk_sample_logprobs is not _NONE:
            self._check_counts("num_samples", "topk_sample_logprobs")
        if self.topk_prompt_logprobs is not _NONE or self.prompt_alt_tokens_k is not _NONE:
            self._check_counts("topk_prompt_logprobs", "prompt_alt_tokens_k")
        if self.include_prompt_logprobs is not False:
            include = flag("include_prompt_logprobs", self.include_prompt_logprobs)
            object.__setattr__(self, "include_prompt_logprobs", include)
        if self.prompt_logprobs_last_n is not None:
            self._check_last_n(length)
        if self.target_prompt_logprobs is not None:
            _check_targets(self.target_prompt_logprobs, length)

    def _check_counts(self, *names: str) -> None:
        for name in names:
            least = _ONE if name == "num_samples" else _NONE
            object.__setattr__(self, name, whole(name, getattr(self, name), least))

    def _check_last_n(self, length: int | None) -> None:
        most = INT32_MAX if length is None else length - 1
        last_n = whole("prompt_logprobs_last_n", self.prompt_logprobs_last_n, 1, most)
        object.__setattr__(self, "prompt_logprobs_last_n", last_n)
        if not self.include_prompt_logprobs:
            raise ValueError("prompt_logprobs_last_n needs include_prompt_logprobs=True")


def _check_targets(targets: Any, length: int | None) -> None:
    if not isinstance(targets, TensorData):
        raise TypeError(f"target_prompt_logprobs must be TensorData, got {shown(targets)}")
    if targets.dtype != "int64" or len(targets.shape) != 2:
        raise ValueError(
            f"target_prompt_logprobs must be an int64 tensor of two dimensions, got {targets.dtype} {targets.shape}"
        )
    if length is not None and targets.shape[0] != length - 1:
        raise ValueError(
            f"target_prompt_logprobs must have {length - 1} rows, one for each prompt token after the first, "
            f"got {targets.shape[0]}"
        )
    ids = targets.data
    if not ids or max(ids) < 0:
        raise ValueError("target_prompt_logprobs must name at least one token id")
    if min(ids) < -1 or max(ids) > INT32_MAX:
        raise ValueError("target_prompt_logprobs must hold token ids from 0 to 2147483647, and -1 for none")
