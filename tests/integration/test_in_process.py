"""The gateway inside a process: the answers of the one behind HTTP, as futures."""

from __future__ import annotations

import threading

import pytest
from gateways import MODEL, TOKENIZER, USER, says, serving
from serving import make_service, until

import tinkex
from tinkex.plugins import in_process
from tinkex.plugins.in_process import InProcessGateway, shared_gateway, wait_for
from tinkex.serve.errors import GatewayError
from tinkex.testing import FakeServer

WAIT = 30.0


@pytest.fixture(scope="module")
def both():
    """A gateway behind HTTP and one in this process, on the same server."""
    with serving(says("Hello.<|im_end|>"), models=[MODEL]) as asking:
        gateway = InProcessGateway(asking.service, tokenizer=TOKENIZER)
        yield asking, gateway
        gateway.close()


def same(answer):
    """An answer without what differs from one request to the next."""
    return {name: value for name, value in answer.items() if name not in ("id", "created")}


@pytest.mark.parametrize("body", [{}, {"logprobs": True, "top_logprobs": 2, "n": 2}, {"return_token_ids": True}])
def test_chat(both, body):
    """A chat is answered as behind HTTP."""
    asking, gateway = both
    answer = gateway.chat({"model": MODEL, "messages": USER, **body}).result(WAIT)
    assert same(answer) == same(asking.chat(**body).json())


def test_complete(both):
    """So is a text."""
    asking, gateway = both
    body = {"echo": True, "logprobs": 1, "max_tokens": 3}
    answer = gateway.complete({"model": MODEL, "prompt": "Hi", **body}).result(WAIT)
    assert same(answer) == same(asking.complete("Hi", **body).json())


def test_models(both):
    """So are lists of models; and each is opened once."""
    asking, gateway = both
    assert gateway.models().result(WAIT) == asking.get("/v1/models").json()["data"]
    assert gateway.open(MODEL).result(WAIT) is gateway.open(MODEL).result(WAIT)


def test_errors(both):
    """What cannot be had is refused by the name of the field; what the server refuses is its error."""
    asking, gateway = both
    with pytest.raises(GatewayError) as caught:
        gateway.chat({"model": MODEL, "messages": USER, "logit_bias": {"1": 5}}).result(WAIT)
    assert caught.value.param == "logit_bias"
    asking.server.fail_next("asample", status=403)
    with pytest.raises(tinkex.PermissionDeniedError):
        gateway.chat({"model": MODEL, "messages": USER}).result(WAIT)


def test_cancel_and_close(monkeypatch):
    """A future that is cancelled cancels its sample, an interrupted wait does too, and so does the close."""
    free = threading.Event()

    def answer(request):
        free.wait(WAIT)
        return says("a")(request)

    with FakeServer(answers=answer) as server:
        service = make_service(server)
        gateway = InProcessGateway(service, tokenizer=TOKENIZER)
        begun = [gateway.chat({"model": MODEL, "messages": USER}) for _ in range(3)]
        until(lambda: service.stats().in_flight == 3)
        begun[0].cancel()
        until(lambda: service.stats().in_flight == 2)
        monkeypatch.setattr(begun[1], "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            wait_for(begun[1])
        until(lambda: service.stats().in_flight == 1)
        gateway.close()
        until(lambda: service.stats().in_flight == 0)
        assert begun[2].cancelled()
        gateway.close()
        with pytest.raises(RuntimeError, match="closed"):
            gateway.chat({"model": MODEL, "messages": USER})
        free.set()
        service.close()


def interrupted():
    """What Ctrl-C does to a thread that waits."""
    raise KeyboardInterrupt


def test_shared(monkeypatch):
    """There is one for each server and key."""
    monkeypatch.setattr(in_process, "_shared", {})
    first = shared_gateway(base_url="http://127.0.0.1:9", api_key="tml-a")
    assert shared_gateway(base_url="http://127.0.0.1:9", api_key="tml-a") is first
    other = shared_gateway(base_url="http://127.0.0.1:9", api_key="tml-b")
    assert other is not first
    for gateway in (first, other):
        gateway.close()
        gateway.service.close()
