"""Parsing of rows: tinkex's own form and the request lines of OpenAI's Batch API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tinkex.bulk._input.task import PARAMETERS, InvalidRowError, Prompt, Row, RowId

_OWN: Final = frozenset({"id", "custom_id", "prompt", "prompt_tokens", "messages", "model"})
_SHAPES: Final = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
_SAME: Final = ("max_tokens", "seed", "stop", "temperature", "top_p", "top_k", "tools")
_HARMLESS: Final = frozenset(
    {"model", "messages", "prompt", "user", "metadata", "store", "service_tier", "stream_options"}
)
_NEUTRAL: Final[Mapping[str, Any]] = {
    "stream": False, "echo": False, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {},
    "response_format": {"type": "text"}, "tool_choice": "auto", "suffix": "",
}  # fmt: skip


def parse_row(number: int, data: object) -> Row:
    """Parse one row; what is wrong with it is noted in the row."""
    if not isinstance(data, Mapping):
        return Row(number, f"line {number}", problem=f"A row must be a JSON object, not {type(data).__name__}.")
    identity = data.get("custom_id")
    if identity is None:
        identity = data.get("id")
    if identity is None:
        identity = number
    elif isinstance(identity, bool) or not isinstance(identity, str | int):
        return Row(
            number, f"line {number}", problem=f"id must be text or a whole number, not {type(identity).__name__}."
        )
    try:
        return _openai(number, identity, data) if "body" in data else _native(number, identity, data)
    except InvalidRowError as error:
        return Row(
            number, identity, problem=error.message, shape=_shape(data) or "chat" if "body" in data else "native"
        )


def _native(number: int, identity: RowId, data: Mapping[str, Any]) -> Row:
    parameters, extra = {}, {}
    for name, value in data.items():
        if name in PARAMETERS:
            if value is not None:
                parameters[name] = value
        elif name not in _OWN:
            extra[name] = value
    return Row(number, identity, _prompt(data), parameters, _model(data.get("model")), extra)


def _prompt(data: Mapping[str, Any]) -> Prompt:
    given = [(name, data[name]) for name in ("prompt", "prompt_tokens", "messages") if data.get(name) is not None]
    if len(given) != 1:
        found = " and ".join(name for name, _ in given) or "none of them"
        raise InvalidRowError(f"A row needs one of prompt, prompt_tokens and messages; this one has {found}.")
    ((name, prompt),) = given
    if isinstance(prompt, str) and name == "prompt":
        return prompt
    if not isinstance(prompt, list | tuple):
        raise InvalidRowError(
            f"{name} must be {'text or ' if name == 'prompt' else ''}a list, not {type(prompt).__name__}."
        )
    kind = Mapping if name == "messages" else int
    if not prompt or not isinstance(prompt[0], kind):
        wanted = "messages" if name == "messages" else "token ids"
        raise InvalidRowError(
            f"{name} must be a list of {wanted}; this one {'holds something else' if prompt else 'is empty'}."
        )
    return prompt


def _model(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidRowError(f"model must be a name or a tinker:// path, not {value!r}.")
    return value


def _shape(data: Mapping[str, Any]) -> str | None:
    url = data.get("url")
    return _SHAPES.get(url) if isinstance(url, str) else None


def _openai(number: int, identity: RowId, data: Mapping[str, Any]) -> Row:
    """Parse a request line of an OpenAI batch; refuses, and never ignores, what its body asks for in vain."""
    shape, body = _shape(data), data["body"]
    if shape is None:
        raise InvalidRowError(f"url must be {' or '.join(_SHAPES)}, not {data.get('url')!r}.")
    if not isinstance(body, Mapping):
        raise InvalidRowError(f"body must be a JSON object, not {type(body).__name__}.")
    parameters = {name: body[name] for name in _SAME if body.get(name) is not None}
    known = {*_SAME, *_HARMLESS, "max_completion_tokens", "n", "logprobs", "top_logprobs"}
    for name, value in body.items():
        if name not in known and value is not None and (name not in _NEUTRAL or value != _NEUTRAL[name]):
            raise InvalidRowError(f"body asks for {name}, which tinkex does not offer.")
    if body.get("max_completion_tokens") is not None:
        parameters["max_tokens"] = body["max_completion_tokens"]
    if body.get("n") is not None:
        parameters["num_samples"] = body["n"]
    most_likely = body.get("top_logprobs") if shape == "chat" else body.get("logprobs")
    if most_likely:
        parameters["topk_sample_logprobs"] = most_likely
    prompt = _prompt({"messages": body.get("messages")} if shape == "chat" else {"prompt": body.get("prompt")})
    logprobs = body.get("logprobs")  # a switch in a chat, a number that may be 0 in a completion
    extra = {} if logprobs is None or logprobs is False else {"logprobs": True}
    return Row(number, identity, prompt, parameters, _model(body.get("model")), extra, shape)
