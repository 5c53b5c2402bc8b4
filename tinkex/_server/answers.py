"""Response bodies for results, failures and pending samples, in the dialect of each kind of server."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tinkex._server.engine import EngineError
from tinkex._server.options import ServerOptions
from tinkex._server.protobuf import encode_response
from tinkex.types import SampleResponse, TopkLogprobs

PROTOBUF = "application/x-protobuf"


def answer_json(body: object, status: int = 200, **headers: str) -> web.Response:
    """Build a JSON response."""
    data = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(body=data, status=status, content_type="application/json", headers=headers or None)


def encode_result(response: SampleResponse, options: ServerOptions, accept: str) -> tuple[str, bytes]:
    """Encode a result as JSON or protobuf; returns its content type and its bytes."""
    if options.answer == "protobuf" or (options.answer == "auto" and PROTOBUF in accept):
        return PROTOBUF, encode_response(response)
    body = result_object(response)
    if options.answer_type:
        body = {"type": "sample", **body}
    if options.wrapped:
        body = {"status": "completed", "result": body}
    return "application/json", json.dumps(body, separators=(",", ":")).encode()


def result_object(response: SampleResponse) -> dict[str, Any]:
    """Convert a result to the JSON object of the protocol; absent fields are left out."""
    alternatives = response.prompt_alt_tokens
    return _present(
        sequences=[
            _present(
                tokens=list(sequence.tokens),
                logprobs=None if sequence.logprobs is None else list(sequence.logprobs),
                topk_sampled_logprobs=_rows(sequence.topk_logprobs),
                stop_reason=sequence.stop_reason,
            )
            for sequence in response.sequences
        ],
        prompt_logprobs=None if response.prompt_logprobs is None else list(response.prompt_logprobs),
        topk_prompt_logprobs=_rows(response.topk_prompt_logprobs),
        prompt_cache_hit_tokens=response.prompt_cache_hit_tokens,
        target_prompt_logprobs=response.target_prompt_logprobs and response.target_prompt_logprobs.to_dict(),
        prompt_alt_tokens=alternatives and alternatives.to_dict(),
    )


def pending_answer(options: ServerOptions, request_id: str) -> web.Response:
    """Build the response of a poll whose sample is still pending."""
    if options.pending == "status":
        return answer_json({"status": "pending", "request_id": request_id})
    body: dict[str, Any] = {}
    if options.pending_state:
        state, reason = options.queue_state()
        body = _present(request_id=request_id, queue_state=state, queue_state_reason=reason)
    if options.pending == "try_again":
        return answer_json({"type": "try_again", **body})
    return answer_json(body or {"detail": "The result is not ready."}, status=408)


def failure_answer(error: EngineError, options: ServerOptions) -> web.Response:
    """Build the response of a poll whose sample failed."""
    user = error.category.lower().startswith("user")
    status = error.status if 400 <= error.status < 500 else (400 if user else 500)
    match options.failure:
        case "tuft":
            return answer_json({"detail": error.message}, 422 if status in (400, 500) else status)
        case "hatchery":
            category = "user_error" if user else "server_error"
            kind = "request_failed"
            return answer_json({"type": kind, "error": error.message, "category": category})
        case "open_rl":
            kind = "RequestFailedResponse"
            return answer_json({"type": kind, "error_message": error.message}, 400)
        case "twinkle":
            return answer_json({"error": error.message, "category": error.category.capitalize()})
        case "tinker_cloud":
            return answer_json({"error": error.message, "status_code": status}, 400)
        case "skyrl":
            return answer_json({"detail": error.message}, 400 if user else 500)
        case "wrapped":
            inner = {"message": error.message, "category": error.category}
            return answer_json({"status": "failed", "error": inner})
        case _:
            return answer_json({"error": error.message, "category": error.category})


def _rows(topk: TopkLogprobs | None) -> list[Any] | None:
    return None if topk is None else [row and [list(cell) for cell in row] for row in topk]


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
