"""Stateless protocol checks of one request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinkex._server.bodies import SAMPLE_FIELDS
from tinkex.testing._journal import RecordedRequest

#: The broken rules of a request, each with a message.
Found = Iterator[tuple[str, str]]

#: What the body of each endpoint may hold.
FIELDS: dict[str, frozenset[str]] = {
    "client/config": frozenset({"sdk_version"}),
    "client/dynamic_config": frozenset({"sdk_version"}),
    "auth/token": frozenset(),
    "create_session": frozenset({"tags", "user_metadata", "sdk_version", "project_id", "display_name", "type"}),
    "session_heartbeat": frozenset({"session_id", "type"}),
    "finish": frozenset({"reason", "detail"}),
    "create_sampling_session": frozenset({"session_id", "sampling_session_seq_id", "base_model", "model_path", "type"}),
    "join_sampling_session": frozenset({"sampling_session_id", "type"}),
    "asample": SAMPLE_FIELDS,
    "retrieve_future": frozenset({"request_id", "allow_metadata_only"}),
    "retrieve_futures": frozenset({"target", "prev_cursor", "timeout", "retrieved_request_ids"}),
    "cancel_future": frozenset({"request_id"}),
    "weights_info": frozenset({"tinker_path"}),
    "telemetry": frozenset({"events", "platform", "sdk_version", "session_id", "process_uuid"}),
}
#: Options of a sample that are better left out at their default, because old servers do not know them.
DEFAULTS: dict[str, object] = {
    "prompt_logprobs": False, "topk_prompt_logprobs": 0, "topk_sample_logprobs": 0,
    "prompt_alt_tokens_k": 0, "record_stability_info": False,
}  # fmt: skip


def header_faults(request: RecordedRequest) -> Found:
    """Check the headers of a request."""
    kind = request.headers.get("Content-Type")
    if request.method == "GET" and kind is not None:
        yield "header", "A GET has a Content-Type."
    for name in ("User-Agent", "Accept"):
        if not request.headers.get(name):
            yield "header", f"There is no {name}."
    if request.headers.get("Authorization"):
        yield "header", "The credential belongs into X-API-Key, not into Authorization."


def nulls(body: dict[str, Any], endpoint: str) -> Found:
    """Find fields that are null instead of absent."""
    for name, value in body.items():
        if value is None and (endpoint, name) != ("finish", "detail"):
            yield "null", f"{name} is null; leave it out."
        elif isinstance(value, dict) and name in ("sampling_params", "target"):
            yield from nulls(value, endpoint)
