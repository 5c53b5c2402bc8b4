"""Options of the calls that take text: those of `SamplingParams` and of `SamplingClient.sample`, as keywords."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypedDict

from tinkex._validation.calls import unexpected
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


_OF_CHATS: Final = {
    "chat_template": 'did you mean template_variables={"chat_template": ...}?',
    "system": 'did you mean a message {"role": "system", ...}?',
}
_OF_NONE: Final = {
    "model": "a client is of one model, which create_sampling_client(base_model=...) names",
    "stream": "the API returns whole samples",
}


def check_names(call: str, options: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError for a keyword that the call of this name does not know, with what may be meant."""
    for option in options:
        if option not in known:
            error = unexpected(call, option, known, {})
            advice = (_OF_NONE | (_OF_CHATS if call == "chat" else {})).get(option)
            if call == "chat" and advice is None and "did you mean" not in str(error):
                advice = f"a variable of the chat template goes into template_variables={{{option!r}: ...}}"
            raise TypeError(f"{error}: {advice}") if advice else error


CallArguments = tuple[float | None, str | None, QueueStateObserver | None]
"""The values of `CallOptions`, in their order."""
PARAMS: Final = ("max_tokens", "seed", "stop", "temperature", "top_k", "top_p")
CALL: Final = tuple(CallOptions.__annotations__)
REQUEST: Final = tuple(name for name in SampleOptions.__annotations__ if name not in (*PARAMS, *CALL))


def call_arguments(options: Mapping[str, Any]) -> CallArguments:
    """Return the options of a call in their order; None for those that are not given."""
    return options.get("timeout"), options.get("on_full"), options.get("queue_state_observer")


class TextCall(NamedTuple):
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
        check_names(name, options, SampleOptions.__annotations__)
        if sampling_params is not None and not isinstance(sampling_params, SamplingParams):
            raise TypeError(
                f"sampling_params must be SamplingParams, got {shown(sampling_params)}: its fields are"
                f" keywords here, as in {name}(..., max_tokens=256)"
            )
        given = {} if sampling_params is None else {each: getattr(sampling_params, each) for each in PARAMS}
        params = SamplingParams(**given | {each: options[each] for each in PARAMS if each in options})
        if params.max_tokens is None:
            raise ValueError(f"max_tokens must be given: the most tokens to sample, as in {name}(..., max_tokens=256)")
        return cls(params, {each: options[each] for each in REQUEST if each in options}, call_arguments(options))

    def sample_request(self, prompt: ModelInput, params: SamplingParams | None = None) -> SampleRequest:
        """Return the request for a prompt."""
        return SampleRequest(prompt, params or self.params, **self.request)
