"""Verdicts over HTTP replies, with the fault and without it."""

from __future__ import annotations

import json

import pytest

from tinkex.check.checks import protocol
from tinkex.check.checks.protocol import Reply


def reply(body=None, status=200, **more):
    """A JSON reply."""
    kind = {"content_type": "application/json", **more}
    return Reply(status=status, body=json.dumps(body or {}).encode(), **kind)


def result(tokens=(5, 6), **more):
    """A reply with a result."""
    return reply({"sequences": [{"tokens": list(tokens), "stop_reason": "length"}]}, **more)


PENDING = [reply({"type": "try_again"}), reply({"status": "pending"}), reply({}, 408)]
NOTHING = Reply(status=0, seconds=3.0)
LONG = result(range(20))
P = protocol
CASES = [
    ("ok", P.judge_repeat, (reply({"request_id": "a"}), reply({"request_id": "a"}))),
    ("ok", P.judge_repeat, (reply({"request_id": "a"}), reply({}, 409))),
    ("absent", P.judge_repeat, (reply({"request_id": "a"}), reply({"request_id": "b"}))),
    ("unknown", P.judge_repeat, (reply({}, 500), reply({}, 500))),
    ("ok", P.judge_polls, ([result(seconds=2.0)],)),
    ("ok", P.judge_polls, ([reply({}, 408, seconds=5.0), result()],)),
    *(("absent", P.judge_polls, ([pending, result()],)) for pending in PENDING),
    ("unknown", P.judge_polls, ([],)),
    ("unknown", P.judge_polls, ([NOTHING],)),
    ("ok", P.judge_lost, (reply({}, 404),)),
    *(("fault", P.judge_lost, (pending,)) for pending in PENDING),
    ("unknown", P.judge_lost, (NOTHING,)),
    ("ok", P.judge_ids, (["8f-1", "8f-2"],)),
    ("absent", P.judge_ids, (["17", "18"],)),
    ("unknown", P.judge_ids, (["17"],)),
    ("ok", P.judge_cancel, (reply(), [reply({"error": "cancelled", "category": "user"})])),
    ("ok", P.judge_cancel, (reply(), [reply({}, 410)])),
    ("absent", P.judge_cancel, (reply({}, 404), [])),
    ("unknown", P.judge_cancel, (reply({}, 500), [])),
    ("unknown", P.judge_cancel, (reply(), [result(seconds=0.1)])),
    ("fault", P.judge_cancel, (reply(), [reply({}, 408, seconds=5.0), result(seconds=1.0)])),
    ("ok", P.judge_formats, (result(), result())),
    ("fault", P.judge_formats, (result((5, 7)), result())),
    ("unknown", P.judge_formats, (reply({}, 404), result())),
    ("ok", P.judge_compression, (reply(), reply(encoding="gzip"))),
    ("absent", P.judge_compression, (reply(), reply())),
    ("fault", P.judge_compression, (reply(encoding="gzip"), reply(encoding="gzip"))),
    ("fault", P.judge_compression, (reply(), reply(encoding="zstd"))),
    ("unknown", P.judge_compression, (NOTHING, reply())),
    ("ok", P.judge_long, (reply({}, 400), None, 4096)),
    ("ok", P.judge_long, (reply({"request_id": "1"}), reply({"error": "too long"}), 4096)),
    ("absent", P.judge_long, (reply({"request_id": "1"}), result(), 4096)),
    ("unknown", P.judge_long, (reply({"request_id": "1"}), NOTHING, 4096)),
    ("ok", P.judge_context, (reply({}, 400), 92, 100)),
    ("ok", P.judge_context, (result(range(8)), 92, 100)),
    ("fault", P.judge_context, (LONG, 92, 100)),
    ("unknown", P.judge_context, (NOTHING, 92, 100)),
]


@pytest.mark.parametrize(("verdict", "judge", "seen"), CASES)
def test_verdict(verdict, judge, seen, monkeypatch):
    """Each verdict says what was seen; a fault, or what is absent, also what it means and what to do."""
    if judge is P.judge_formats and seen[0].response is not None:
        monkeypatch.setattr(protocol, "decode_answer", decode_any)
        seen = (Reply(status=200, body=seen[0].body, content_type="application/x-protobuf"), seen[1])
    found = judge(*seen)
    assert found.verdict == verdict
    assert found.says
    assert bool(found.means and found.advice) is (verdict in ("fault", "absent"))


DECODE = protocol.decode_answer


def decode_any(_content_type, body):
    """Read JSON whatever it is called."""
    return DECODE("application/json", body)


def test_one_format():
    """A server with one format is told so."""
    assert protocol.judge_formats(result(), result()).says == "always JSON"
