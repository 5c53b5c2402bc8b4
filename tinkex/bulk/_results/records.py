"""Records of tinkex's own format, read from JSON lines of either format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tinkex.bulk._results.logprobs import restore_record

Record = dict[str, Any]


def json_records(lines: Iterable[bytes], name: str) -> Iterator[Record]:
    """Read the records of JSON lines; a last line that is torn, as of a run that goes on, is left out.

    ValueError names the file and the line where another line is no row of an output.
    """
    for number, line in enumerate(lines, 1):
        try:
            yield restore_record(_native(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError):
            if line.endswith(b"\n") and not line.isspace():
                raise ValueError(f"{name}, line {number}: not a row of a batch's output") from None


def _native(line: Record) -> Record:
    """Convert a line of OpenAI's format; one of tinkex's own stays as it is."""
    if line["status"] not in {"ok", "error"}:
        raise ValueError("no such status")
    if "custom_id" not in line:
        line["sequences"], line["error"]
        return line
    response: Mapping[str, Any] = line["response"] or {}
    body = response.get("body") or {}
    error, usage = body.get("error"), body.get("usage")
    return {
        **{name: line[name] for name in ("model", "fingerprint", "status")},
        **{name: line[name] for name in ("line", "date", "parameters", "extra", "messages", "prompt") if name in line},
        **{name: body[name] for name in ("prompt_logprobs", "topk_prompt_logprobs") if name in body},
        "id": line["custom_id"],
        "sequences": [_sequence(choice) for choice in body.get("choices") or ()],
        "usage": usage and {
            "prompt_tokens": usage["prompt_tokens"],
            "sampled_tokens": usage["completion_tokens"],
            "prompt_cache_hit_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        },
        "request_id": response.get("request_id"),
        "error": (error and {"type": error["type"], "message": error["message"], "status": error["code"]})
        or (line["error"] and {"type": line["error"]["code"], "message": line["error"]["message"]}),
    }  # fmt: skip


def _sequence(choice: Mapping[str, Any]) -> Record:
    message, told = choice.get("message"), choice["logprobs"] or {}
    logprobs = [token["logprob"] for token in told["content"]] if "content" in told else told.get("token_logprobs")
    text = choice["text"] if message is None else message["content"]
    return {"text": text, "logprobs": logprobs, "stop_reason": choice["finish_reason"], "message": message}
