"""Options of the calls that take text: those of `SamplingParams` and of `SamplingClient.sample`, as keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

import attrs

from tinkex._validation.values import shown
from tinkex.queue_state import QueueStateObserver
from tinkex.types import ModelInput, SampleRequest, SamplingParams


class CallOptions(TypedDict, total=False):
    """Options of every call: its deadline in seconds, what a full queue means, who is told of the server's queue."""

    timeout: float | None
    on_full: str | None
    queue_state_observer: QueueStateObserver | None


class SampleOptions(CallOptions, total=False):
    """Options of `SamplingClient.complete` and `chat`: the fields of `SamplingParams`, and those of `sample`."""

    max_tokens: int | None
    seed: int | None
    stop: str | Sequence[str] | Sequence[int] | None
    temperature: float
    top_k: int
    top_p: float
    num_samples: int
    include_prompt_logprobs: bool
    topk_prompt_logprobs: int
    topk_sample_logprobs: int
    prompt_logprobs_last_n: int | None


_ELSEWHERE: Final = {
    "n": "num_samples", "max_new_tokens": "max_tokens", "max_completion_tokens": "max_tokens",
    "chat_template": 'template_variables={"chat_template": ...}',
    "system": 'a message {"role": "system", ...}', "model": "a sampling client of it",
}  # fmt: skip


def _advice(option: str) -> str:
    """Return what may be meant by an unknown keyword, as the end of a sentence; empty where nothing is near."""
    meant = _ELSEWHERE.get(option)
    if meant is None:
        import difflib  # slow to load, for the few that are mistaken

        meant = next(iter(difflib.get_close_matches(option, SampleOptions.__annotations__, 1)), None)
    return "" if meant is None else f": did you mean {meant}?"


CallArguments = tuple[float | None, str | None, QueueStateObserver | None]
"""The values of `CallOptions`, in their order."""
PARAMS: Final = ("max_tokens", "seed", "stop", "temperature", "top_k", "top_p")
CALL: Final = tuple(CallOptions.__annotations__)
REQUEST: Final = tuple(name for name in SampleOptions.__annotations__ if name not in (*PARAMS, *CALL))


def call_arguments(options: Mapping[str, Any]) -> CallArguments:
    """Return the options of a call in their order; None for those that are not given."""
    return options.get("timeout"), options.get("on_full"), options.get("queue_state_observer")


@attrs.frozen
class TextCall:
    """The options of a call, checked and sorted."""

    params: SamplingParams
    request: Mapping[str, Any]
    """Further fields of `SampleRequest`."""
    call: CallArguments

    @classmethod
    def read(cls, name: str, sampling_params: SamplingParams | None, options: Mapping[str, Any]) -> TextCall:
        """Sort the options of the call of this name; keywords go before what `sampling_params` says.

        Raises:
            TypeError: There is no such option, or it has the wrong type.
            ValueError: `max_tokens` is missing, or an option is out of range.
        """
        for option in options:
            if option not in SampleOptions.__annotations__:
                raise TypeError(f"{name}() got an unexpected keyword argument {option!r}{_advice(option)}")
        if sampling_params is not None and not isinstance(sampling_params, SamplingParams):
            raise TypeError(f"sampling_params must be SamplingParams, got {shown(sampling_params)}")
        given = {} if sampling_params is None else {each: getattr(sampling_params, each) for each in PARAMS}
        params = SamplingParams(**given | {each: options[each] for each in PARAMS if each in options})
        if params.max_tokens is None:
            raise ValueError(f"max_tokens must be given: the most tokens to sample, as in {name}(..., max_tokens=256)")
        return cls(params, {each: options[each] for each in REQUEST if each in options}, call_arguments(options))

    def sample_request(self, prompt: ModelInput, params: SamplingParams | None = None) -> SampleRequest:
        """Return the request for a prompt."""
        return SampleRequest(prompt, params or self.params, **self.request)
