"""Checks of the protocol: repeated submissions, polls, cancels, formats, compression; over plain HTTP replies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import attrs

from tinkex._wire import decode_answer
from tinkex.check.result import CheckResult, absent, fault, passed, unknown
from tinkex.errors import APIResponseError
from tinkex.types import SampleResponse

_AT_ONCE: Final = 0.5
"""Seconds: a poll that is answered sooner was not held."""


@attrs.frozen(kw_only=True)
class Reply:
    """HTTP response as it came; `status` 0 is no answer in time."""

    status: int
    body: bytes = b""
    content_type: str = ""
    encoding: str = ""
    """Its Content-Encoding, in lower case."""
    seconds: float = 0.0

    @property
    def fields(self) -> dict[str, Any]:
        """Its JSON object; empty where there is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def request_id(self) -> str | None:
        """The id that it promises a result under."""
        found = self.fields.get("request_id")
        return None if found is None else str(found)

    @property
    def pending(self) -> bool:
        """Whether it says that there is no result yet."""
        fields = self.fields
        return self.status == 408 or fields.get("type") == "try_again" or fields.get("status") == "pending"

    @property
    def response(self) -> SampleResponse | None:
        """The result that it carries; None where it carries none that can be read."""
        if self.status // 100 != 2:
            return None
        try:
            answer = decode_answer(self.content_type, self.body)
        except APIResponseError:
            return None
        return answer if isinstance(answer, SampleResponse) else None

    def __str__(self) -> str:
        text = self.body[:120].decode("utf-8", "replace") if "protobuf" not in self.content_type else "protobuf"
        return f"{self.status} {text}" if self.status else f"no answer in {self.seconds:.1f} s"


def judge_repeat(first: Reply, second: Reply) -> CheckResult:
    """A submission that is sent again under its number is the same sample."""
    name = "repeated submission"
    if first.request_id is None:
        return unknown(name, f"a submission is answered {first}")
    if second.request_id == first.request_id:
        return passed(name, "the same number of the same session is the same request")
    if second.request_id is None and second.status // 100 == 4:
        return passed(name, f"a repeat is refused: {second}")
    return absent(
        name,
        says=f"a repeat became a request of its own: {first.request_id}, {second.request_id}",
        means="A submission whose answer was lost on the way may be computed, and billed, twice.",
        advice="Nothing: tinkex repeats only what cannot have been taken, and says what may have run twice.",
    )


def judge_polls(polls: Sequence[Reply]) -> CheckResult:
    """A poll is held while there is no result."""
    name = "long polls"
    if not polls or polls[-1].response is None:
        return unknown(name, f"no result came: {polls[-1] if polls else 'not polled'}")
    early = [poll for poll in polls[:-1] if poll.pending and poll.seconds < _AT_ONCE]
    if not early:
        return passed(name, f"{len(polls)} polls, the last of {polls[-1].seconds:.2f} s with the result")
    return absent(
        name,
        says=f"{len(early)} of {len(polls)} polls were answered 'not yet' at once",
        means="Results are found out by asking again and again: they come later, and each costs several requests.",
        advice="Nothing; a larger min_poll_interval asks less often.",
    )


def judge_lost(reply: Reply) -> CheckResult:
    """A poll of a request that the server does not know is told so."""
    name = "unknown request"
    if reply.status == 0:
        return unknown(name, f"a poll is held: {reply}")
    if not reply.pending:
        return passed(name, f"a poll is refused: {reply}")
    return fault(
        name,
        says=f"a poll of a request that never was is answered 'not yet': {reply}",
        means="Samples that the server has lost, as by a restart, wait until their own deadline.",
        advice="Set a timeout for samples.",
    )


def judge_ids(ids: Sequence[str]) -> CheckResult:
    """The ids of requests are not the numbers from 1 on, which come again after a restart."""
    name = "request ids"
    if len(ids) < 2:
        return unknown(name, "no two ids were given")
    if not all(each.isdecimal() and len(each) < 10 for each in ids):
        return passed(name, f"not numbers: {ids[0][:60]}")
    return absent(
        name,
        says=f"they are small numbers: {', '.join(ids[:4])}",
        evidence={"ids": list(ids)},
        means="After a restart that begins to count again, a poll from before can be given another user's result.",
        advice="Do not share the server, or see that its database outlives a restart.",
    )


def judge_cancel(cancel: Reply, after: Sequence[Reply]) -> CheckResult:
    """A cancelled sample ends without a result."""
    name = "cancel"
    if cancel.status in (404, 405, 501):
        return absent(
            name,
            says=f"it is not offered: {cancel.status}",
            means="A cancelled sample frees its place in the client; the server computes on, and may bill it.",
            advice="Nothing; keep max_tokens small where many are cancelled.",
        )
    if cancel.status // 100 != 2 or not after:
        return unknown(name, f"a cancel is answered {cancel}")
    last = after[-1]
    if last.response is None:
        return passed(name, f"it is taken, and the request then ends: {last}")
    waited = sum(poll.seconds for poll in after)
    if waited < _AT_ONCE:
        return unknown(name, "the sample was over before it could be cancelled")
    return fault(
        name,
        says=f"it is taken, and {waited:.1f} s later the whole result came",
        means="The server says that it stops, and computes, and perhaps bills, the whole answer.",
        advice="Do not count on cancel to save anything.",
    )


def judge_formats(protobuf: Reply, as_json: Reply) -> CheckResult:
    """The result of one request can be had as protobuf and as JSON, by Accept."""
    name = "formats"
    responses = [reply.response for reply in (protobuf, as_json)]
    if None in responses:
        return unknown(name, f"the result did not come twice: {protobuf}; {as_json}")
    tokens = [[each.tokens for each in response.sequences] for response in responses if response is not None]
    if tokens[0] != tokens[1]:
        return fault(
            name,
            says="the result of one request has other tokens when it is asked for again",
            evidence={"protobuf": tokens[0], "json": tokens[1]},
            means="What a sample is depends on who asks for it, or when.",
            advice="Do not use this server.",
        )
    given = ["protobuf" if "protobuf" in reply.content_type else "JSON" for reply in (protobuf, as_json)]
    if given == ["protobuf", "JSON"]:
        return passed(name, "protobuf and JSON, as is asked for")
    return absent(
        name,
        says=f"always {given[0]}",
        means="Nothing for tinkex, which reads both; programs of your own must read that one.",
        advice="Nothing.",
    )


def judge_compression(plain: Reply, gzip: Reply) -> CheckResult:
    """A body is compressed only where the client says that it can read that."""
    name = "compression"
    if not plain.status or not gzip.status:
        return unknown(name, f"{plain}; {gzip}")
    for reply, allowed in ((plain, ("", "identity")), (gzip, ("", "identity", "gzip"))):
        if reply.encoding not in allowed:
            return fault(
                name,
                says=f"{reply.encoding} came where {allowed[-1]} was asked for",
                means="Answers come in a form that the client did not ask for, and may not be able to read.",
                advice="Look at what stands between client and server.",
            )
    if gzip.encoding == "gzip":
        return passed(name, f"gzip where it is asked for, from {len(plain.body):,} to {len(gzip.body):,} bytes")
    return absent(
        name,
        says="answers are never compressed",
        means="Results take more of the network.",
        advice="Nothing; on a slow network, a proxy can compress.",
    )


def judge_long(submitted: Reply, last: Reply | None, max_tokens: int) -> CheckResult:
    """A max_tokens that the context cannot hold beside the prompt is refused."""
    name = "max_tokens over the context"
    if last is None or last.status == 0 or last.pending:
        refused = submitted if submitted.status // 100 == 4 else None
    else:
        refused = last if last.response is None else None
    if refused is not None:
        return passed(name, f"max_tokens={max_tokens:,} is refused: {refused}")
    if last is None or last.response is None:
        return unknown(name, f"no result came: {last or submitted}")
    return absent(
        name,
        says=f"max_tokens={max_tokens:,} was taken without a word",
        evidence={"lengths": [sequence.length for sequence in last.response.sequences]},
        means="What happens at the end of the context is not told beforehand: an answer may end early, or go on with"
        " what the model was never trained for.",
        advice="Keep prompt and max_tokens within the model's context.",
    )


def judge_context(last: Reply, prompt: int, context: int) -> CheckResult:
    """Prompt and answer together are not longer than the context."""
    name = "context"
    response = last.response
    if response is None:
        refused = last.status and not last.pending
        says = f"a prompt of {prompt:,} tokens with max_tokens=64 is answered {last}"
        return passed(name, says) if refused else unknown(name, says)
    length = prompt + max((sequence.length for sequence in response.sequences), default=0)
    reasons = ", ".join(sorted({sequence.stop_reason for sequence in response.sequences}))
    if length <= context:
        return passed(name, f"the answer ends with the context, after {length - prompt} tokens: stop_reason {reasons}")
    return fault(
        name,
        says=f"prompt and answer are {length:,} tokens, in a context of {context:,}",
        evidence={"length": length, "stop_reason": reasons},
        means="Answers go on beyond the context: noise, without an error.",
        advice="Keep prompt and max_tokens within the model's context yourself.",
    )
