"""Request parsing: JSON objects, their fields, and samples as `SampleRequest`."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from tinkex._server.options import ServerOptions
from tinkex.types import (
    DmelChunk,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    SampleRequest,
    SamplingParams,
    TensorData,
)

T = TypeVar("T")
_COUNTS = ("num_samples", "topk_prompt_logprobs", "topk_sample_logprobs", "prompt_alt_tokens_k")
_MOST_VALUES = 4_000_000
_DEEPEST = 64
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_QUOTED = re.compile(rb'"[^"]*"?')

SAMPLE_FIELDS = frozenset(
    {
        *("num_samples", "prompt", "sampling_params", "sampling_session_id", "seq_id", "base_model", "model_path"),
        *("prompt_logprobs", "topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs"),
        *("prompt_alt_tokens_k", "prompt_logprobs_last_n", "record_stability_info", "type"),
    }
)
PARAMS_FIELDS = frozenset({"max_tokens", "seed", "stop", "temperature", "top_k", "top_p"})


class RequestRefusedError(Exception):
    """HTTP error to answer a request with: status, JSON detail and headers."""

    def __init__(self, status: int, detail: object, **headers: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.body = {"detail": detail}
        self.headers = headers


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a body as a JSON object of bounded size and depth; an empty body counts as an empty object."""
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise RequestRefusedError(413, f"The body has more than {_MOST_VALUES:,} values.")
    if _depth(data) > _DEEPEST:
        raise RequestRefusedError(422, f"The body is nested more than {_DEEPEST} deep.")
    try:
        body = json.loads(data or b"{}", parse_constant=_refuse_constant)
    except ValueError as error:
        raise RequestRefusedError(422, f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RequestRefusedError(422, "The body is not a JSON object.")
    return body


def _depth(data: bytes) -> int:
    """How deeply the arrays and objects of a JSON text are nested; counting ends above `_DEEPEST`."""
    brackets = _ESCAPED.sub(b"", data).translate(None, _NO_BRACKETS)
    depth = deepest = 0
    for bracket in _QUOTED.sub(b"", brackets):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
        if deepest > _DEEPEST:
            break
    return deepest


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def take(body: dict[str, Any], name: str, kind: type[T] | tuple[type[T], ...], default: T) -> T:
    """Return a field checked for its type, or *default* where it is missing or null."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RequestRefusedError(422, f"{name}: Input should be a valid {type(default).__name__}")
    return value


def number_of(body: dict[str, Any], name: str) -> int | None:
    """Return a field that is an int of up to 63 bits; None where it is anything else, or missing."""
    value = body.get(name)
    return value if isinstance(value, int) and abs(value) < 2**63 else None


def unknown_fields(body: dict[str, Any], known: Iterable[str], *where: str) -> list[dict[str, Any]]:
    """Describe every unknown field, as pydantic does in a 422."""
    return [
        {"type": "extra_forbidden", "loc": ["body", *where, name], "msg": "Extra inputs are not permitted"}
        for name in sorted(set(body) - set(known))
    ]


def refuse_unknown(body: dict[str, Any], known: Iterable[str], *where: str) -> None:
    """Raise a 422 where *body* has an unknown field."""
    if details := unknown_fields(body, known, *where):
        raise RequestRefusedError(422, details)


def parse_sample(body: dict[str, Any], options: ServerOptions) -> SampleRequest:
    """Parse the body of an asample request.

    Raises:
        RequestRefusedError: The sample is not valid for this server.
    """
    params = _section(body, "sampling_params")
    if options.forbid_unknown:
        refuse_unknown(body, SAMPLE_FIELDS)
        refuse_unknown(params, PARAMS_FIELDS, "sampling_params")
    if options.list_stop and isinstance(params.get("stop"), str):
        raise RequestRefusedError(422, "sampling_params.stop: Input should be a valid list")
    for name in _COUNTS:
        if take(body, name, int, 0) > options.max_count:
            raise RequestRefusedError(400, f"{name}: must be at most {options.max_count}")
    try:
        return SampleRequest(
            prompt=_prompt(_section(body, "prompt")),
            sampling_params=SamplingParams(**{k: params[k] for k in PARAMS_FIELDS & set(params)}),
            num_samples=body.get("num_samples", 1),
            include_prompt_logprobs=body.get("prompt_logprobs", False),
            topk_prompt_logprobs=body.get("topk_prompt_logprobs", 0),
            topk_sample_logprobs=body.get("topk_sample_logprobs", 0),
            target_prompt_logprobs=_tensor(body.get("target_prompt_logprobs")),
            prompt_alt_tokens_k=body.get("prompt_alt_tokens_k", 0),
            prompt_logprobs_last_n=body.get("prompt_logprobs_last_n"),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise RequestRefusedError(400, f"Invalid sample: {error}") from None


def _section(body: dict[str, Any], name: str) -> dict[str, Any]:
    section = body.get(name)
    if not isinstance(section, dict):
        raise RequestRefusedError(422, [{"type": "missing", "loc": ["body", name], "msg": "Field required"}])
    return section


def _prompt(prompt: dict[str, Any]) -> ModelInput:
    return ModelInput(chunks=tuple(_chunk(chunk) for chunk in prompt["chunks"]))


def _chunk(chunk: dict[str, Any]) -> EncodedTextChunk | ImageChunk | ImageAssetPointerChunk | DmelChunk:
    match chunk.get("type", "encoded_text"):
        case "encoded_text":
            return EncodedTextChunk(tokens=tuple(chunk["tokens"]))
        case "image":
            data = _decode_base64(chunk["data"])
            return ImageChunk(data, chunk["format"], chunk.get("expected_tokens"))
        case "image_asset_pointer":
            return ImageAssetPointerChunk(chunk["location"], chunk["format"], chunk.get("expected_tokens"))
        case "dmel":
            return DmelChunk(_decode_base64(chunk["dmel"]))
        case other:
            raise ValueError(f"prompt: chunks of type {other!r} are unknown")


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"prompt: {error}") from None


def _tensor(tensor: dict[str, Any] | None) -> TensorData | None:
    return None if tensor is None else TensorData.from_dict(tensor)
