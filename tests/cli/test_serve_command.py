"""``tinkex serve``: what it takes, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import requests

pytest.importorskip("aiohttp")
CliRunner = pytest.importorskip("click.testing").CliRunner
app = pytest.importorskip("tinkex.cli._app").app
testing = pytest.importorskip("tinkex.testing")

COMMAND = [sys.executable, "-c", "from tinkex.cli import main; main()", "serve"]
KEY = "tml-a-secret-key-for-tests"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--local", "--base-url", "http://127.0.0.1:9"], "--local stands alone"),
        (["--host", "0.0.0.0"], "host: 0.0.0.0 is open to other machines, so api_key must be given"),
        (["a", "a"], "models: 'a' is given twice"),
        (["--max-tokens", "0"], "max-tokens"),
        (["--api-key", " "], "--api-key must not be empty"),
    ],
)
def test_wrong_usage(arguments, words, monkeypatch):
    """What cannot be served is wrong usage, said before anything is sent."""
    monkeypatch.setenv("TINKER_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_a_signal(number):
    """It prints the URL of clients and a line a request; a signal ends it when the request under way has its answer."""
    variables = {**os.environ, "TINKER_API_KEY": KEY, "TINKEX_SERVE_API_KEY": "one"}
    with testing.FakeServer(latency=1.0, require_key=KEY) as server:
        arguments = ["--base-url", server.url, "--port", "0", "fake/model", "mine=tinker://run/sampler_weights/1"]
        with subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
        ) as process:
            url, headers = process.stdout.readline().strip(), {"Authorization": "Bearer one"}
            listed = requests.get(f"{url}/models", headers=headers, timeout=30).json()["data"]
            answers = []

            def ask():
                body = {"model": "mine", "prompt": [1, 2]}
                answers.append(requests.post(f"{url}/completions", json=body, headers=headers, timeout=30))

            thread = threading.Thread(target=ask)
            thread.start()
            server.wait_for("asample", timeout=30.0)
            process.send_signal(number)
            thread.join()
            _, shown = process.communicate(timeout=60)
    assert [model["id"] for model in listed] == ["fake/model", "mine"]
    assert answers[0].status_code == 200
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "POST /v1/completions 200" in shown
    assert KEY not in shown


@pytest.mark.parametrize(("path", "api_key"), [("", None), ("/v1", None), ("", "one")])
def test_the_doctor_knows_a_gateway(monkeypatch, path, api_key):
    """Who takes a gateway for a Tinker server is told by the doctor what it is, and what to give instead."""
    from tinkex import ServiceClient
    from tinkex.serve import Gateway

    monkeypatch.setenv("TINKER_API_KEY", KEY)
    arguments = ["doctor", "--json", "--timeout", "5", "--base-url"]
    with (
        testing.FakeServer() as server,
        ServiceClient.direct(server.url) as service,
        Gateway(service, api_key=api_key) as gateway,
    ):
        result = CliRunner().invoke(app, [*arguments, gateway.url + path])
    assert result.exit_code == 1
    (failed,) = [step for step in json.loads(result.stdout)["steps"] if step["verdict"] == "failed"]
    assert failed["name"] == "auth"
    assert "This is a gateway for OpenAI's API (tinkex serve)" in failed["says"]
    assert failed["cause"].startswith("A gateway answers there")
    assert failed["advice"].startswith("Give --base-url the server that the gateway samples from")
