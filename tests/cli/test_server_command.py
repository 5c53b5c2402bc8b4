"""The command line against a real client and a fake server."""

from __future__ import annotations

import json

import pytest

from tinkex.types import SampledSequence, SampleResponse

tokenizers = pytest.importorskip("tokenizers")
testing = pytest.importorskip("tinkex.testing")
click = pytest.importorskip("click")
CliRunner = pytest.importorskip("click.testing").CliRunner
app = pytest.importorskip("tinkex.cli._app").app

KEY = "tml-a-secret-key-for-tests"
WORDS = {"zero": 0, "one": 1, "two": 2, "three": 3}


@pytest.fixture
def server(monkeypatch):
    """A server that says "two three" to everything, and the key to it in the environment."""

    def answers(request):
        most = request.sampling_params.max_tokens
        return SampleResponse([SampledSequence([2, 3][:most], [-0.5, -1.0][:most])], prompt_logprobs=[None, -2.0])

    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    monkeypatch.delenv("TINKEX_DEBUG", raising=False)
    with testing.FakeServer(answers=answers, require_key=KEY) as running:
        yield running


@pytest.fixture
def run(server, tmp_path):
    """Run a command against the server, with a tokenizer of four words."""
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="zero"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.save(str(tmp_path / "tokenizer.json"))
    target = ["--base-url", server.url, "--tokenizer", str(tmp_path)]
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [*arguments, *target])


def test_sample(run, server):
    """Text goes out as tokens and comes back as text; the session is finished."""
    result = run("sample", "zero one", "--max-tokens", "2")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "two three\n", "")
    (sent,) = [request.json for request in server.requests if request.path.endswith("/asample")]
    assert sent["prompt"]["chunks"][0]["tokens"] == [0, 1]
    assert any(request.path.endswith("/finish") for request in server.requests)


def test_logprobs(run):
    """Log-probabilities come back a token."""
    data = json.loads(run("logprobs", "zero one", "--json").stdout)
    assert [row["logprob"] for row in data["tokens"]] == [None, -2.0]


def test_refusal(run, monkeypatch):
    """A server that refuses the key makes one line without it, and exit code 1."""
    monkeypatch.setenv("TINKER_API_KEY", "tml-another-secret-key")
    result = run("sample", "zero one")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "401" in result.stderr
    assert "tml-" not in result.stderr


def test_failed_sample(run, server):
    """A sample that the server refuses ends with exit code 1 and the server's words."""
    server.fail_next("asample", status=400, body={"detail": "no such luck"})
    result = run("sample", "zero one")
    assert (result.exit_code, "no such luck" in result.stderr) == (1, True)


def test_wrong_model_path(run, server):
    """What the client refuses before any request is wrong usage."""
    result = run("sample", "zero one", "--model-path", "no-scheme")
    assert (result.exit_code, "--model-path" in result.stderr) == (2, True)


def test_deadline(run, server):
    """--timeout bounds the wait."""
    server.fault("retrieve_future", "hang")
    result = run("sample", "zero one", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "0.2" in result.stderr


@pytest.mark.parametrize("name", ["sample", "logprobs", "chat", "batch run", "check"])
def test_numbers_out_of_range(run, tmp_path, name):
    """A number that an option does not take is told by the option's name, not by that of an argument in Python."""
    (tmp_path / "in.jsonl").write_text('{"prompt": "one"}\n')
    given = {
        "batch run": [str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")], "chat": [], "check": ["--yes"],
    }  # fmt: skip
    command = app
    for part in name.split():
        command = command.get_command(click.Context(command), part)
    numbers = [
        each.opts for each in command.params if isinstance(each.type, click.types.INT.__class__ | click.IntRange)
    ]
    flags = {max(names, key=len) for names in numbers} - {"--seed"}  # which takes any number
    assert flags
    for flag in flags:
        result = run(*name.split(), *given.get(name, ["one"]), "--base-model", "fake/model", flag, "-5")
        assert (result.exit_code, flag in result.stderr.splitlines()[-1]) == (2, True), result.stderr
