from __future__ import annotations

import json
import sys

import pytest

import tinkex
from tinkex.errors import status_error
from tinkex.serve import answers
from tinkex.serve.answers import CODEC, error_answer, event_stream
from tinkex.serve.errors import GatewayError, gateway_error
from tinkex.tokenizers import ChatTemplateError, TokenizerError

FINAL = {"x-should-retry": "false"}
ERRORS = [
    *((status_error(code), code, FINAL) for code in (401, 402, 403, 404)),
    *((status_error(code, phase="submitting"), 400, FINAL) for code in (400, 405, 409, 422)),
    *((status_error(code, phase="waiting"), 502, FINAL) for code in (500, 502, 503)),
    (status_error(429), 429, {"Retry-After": "1"}),
    (status_error(429, retry_after=6.1), 429, {"Retry-After": "7"}),
    (tinkex.QueueFullError("full", 0.25), 503, {"Retry-After": "1"}),
    (tinkex.ClientClosedError(), 503, {"Retry-After": "1"}),
    (tinkex.ForkedFutureError(), 503, {"Retry-After": "1"}),
    (tinkex.SampleTimeoutError("late"), 504, FINAL),
    (tinkex.APITimeoutError("late"), 504, FINAL),
    (tinkex.APIConnectionError("refused"), 502, FINAL),
    (tinkex.APIResponseError("garbled"), 502, FINAL),
    (tinkex.MissingFeatureError("left out", phase="fetching"), 400, FINAL),
    (tinkex.RequestFailedError("no", category="user", phase="waiting"), 400, FINAL),
    (tinkex.RequestFailedError("no", category="server", phase="waiting"), 502, FINAL),
    (tinkex.RequestFailedError("no", phase="waiting"), 502, FINAL),
    (tinkex.CredentialError("none"), 401, FINAL),
    (tinkex.MissingExtraError("none"), 400, FINAL),
    (tinkex.NoThreadsError("none"), 502, FINAL),
    (TokenizerError("none"), 400, FINAL),
    (ChatTemplateError("tools: are left out"), 400, {}),
    (ValueError("temperature must be at least 0"), 400, {}),
    (KeyError("our own mistake"), 500, FINAL),
    (GatewayError(418, "a teapot"), 418, {}),
]


@pytest.mark.parametrize(("error", "status", "headers"), ERRORS, ids=lambda given: type(given).__name__)
def test_answer_to_an_error(error, status, headers):
    """What asking again cannot mend is 4xx; what tinkex gave up on is not to be asked again; the rest says when."""
    answer = error_answer(gateway_error(error))
    assert answer.status == status
    assert {name: answer.headers.get(name) for name in headers} == headers
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}


def test_params():
    """The field that an error names is its `param`; an error of the program says nothing of its inside."""
    assert gateway_error(ValueError("top_p must be above 0")).param == "top_p"
    assert gateway_error(ChatTemplateError("tools: are left out")).param == "tools"
    assert gateway_error(ChatTemplateError("messages[0].content: is odd")).param == "messages"
    assert "secret" not in gateway_error(KeyError("secret")).message


def test_order_of_keys():
    """Objects are written in the order in which they were made."""
    assert CODEC.dumps({"b": 1, "a": [1.5, None, "é"]}) == '{"b":1,"a":[1.5,null,"é"]}'.encode()


def test_without_orjson(monkeypatch):
    """Without orjson the bytes are the same."""
    monkeypatch.setitem(sys.modules, "orjson", None)
    plain = answers._codec()
    for value in ({"b": 1, "a": [1.5, None, "é"]}, [], "x"):
        assert plain.dumps(value) == CODEC.dumps(value)
        assert plain.loads(plain.dumps(value)) == value


def test_event_stream():
    """Events are separated by empty lines, and the mark of the end is the last."""
    assert event_stream([{"a": 1}, {}]).body == b'data: {"a":1}\n\ndata: {}\n\ndata: [DONE]\n\n'
