"""``tinkex batch run`` against a real client and a fake server."""

from __future__ import annotations

import json
import shlex

import pytest

from tinkex.types import SampledSequence, SampleResponse

tokenizers = pytest.importorskip("tokenizers")
testing = pytest.importorskip("tinkex.testing")
CliRunner = pytest.importorskip("click.testing").CliRunner
app = pytest.importorskip("tinkex.cli._app").app

WORDS = {"zero": 0, "one": 1, "two": 2, "three": 3}


@pytest.fixture
def server(monkeypatch):
    """A server that says "two three" to everything, and the way to it in the environment."""

    def answers(request):
        most = request.sampling_params.max_tokens
        return SampleResponse([SampledSequence([2, 3][:most], [-0.5, -1.0][:most])] * request.num_samples)

    monkeypatch.setenv("TINKER_API_KEY", "tml-test")
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    with testing.FakeServer(answers=answers) as running:
        monkeypatch.setenv("TINKER_BASE_URL", running.url)
        yield running


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of four words; its folder."""
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="zero"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.fixture
def run(server, tokenizer, tmp_path):
    """Run rows through the command; returns how it went, and the rows of the output."""

    def invoke(rows, *options, output=None):
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        place = str(output or tmp_path / "out.jsonl")
        command = ["batch", "run", str(tmp_path / "in.jsonl"), "-o", place, "--tokenizer", str(tokenizer), "-m", "4"]
        result = CliRunner().invoke(app, [*command, *options])
        found = tmp_path / "out.jsonl"
        return result, [json.loads(line) for line in found.read_bytes().splitlines()] if found.exists() else []

    return invoke


def test_all_rows(run):
    """With a result for every row the exit code is 0, and the summary says what it took; stdout stays empty."""
    result, rows = run([{"id": "a", "prompt": "one"}, {"id": "b", "prompt": [1, 1]}], "-n", "1", "-t", "0.5")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "2 done, 0 failed, 7 tokens" in result.stderr
    assert [row["sequences"][0]["text"] for row in rows] == [" two three"] * 2
    assert rows[0]["parameters"] == {"max_tokens": 4, "temperature": 0.5, "num_samples": 1}
    result, _ = run([{"id": "a", "prompt": "one"}, {"id": "b", "prompt": [1, 1]}], "-n", "1", "-t", "0.5")
    assert result.exit_code == 0
    assert "0 done, 0 failed, 2 there before" in result.stderr


def test_some_failed(run):
    """With a failed row the exit code is 1, and the summary names the commonest error."""
    result, rows = run([{"prompt": "one"}, {"prompt": ""}, {"prompt": ""}, {"nothing": 1}])
    assert result.exit_code == 1
    assert [row["status"] for row in rows] == ["ok", "error", "error", "error"]
    assert "1 done, 3 failed" in result.stderr
    assert "commonest error, 2 times" in result.stderr


def test_several_models(run):
    """Every row goes to each model that is named, base models and checkpoints alike."""
    options = ["--base-model", "fake/a", "--model", "tinker://run/weights/1"]
    result, rows = run([{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "one", "model": "fake/c"}], *options)
    assert result.exit_code == 0
    found = [(row["id"], row["model"]) for row in rows]
    assert found == [("a", "fake/a"), ("a", "tinker://run/weights/1"), ("b", "fake/c")]


def test_weights_of_a_base_model(run, server):
    """--base-model with --model-path is one model, and so is a row's model that names both; the server gets both."""
    options = ["--base-model", "fake/a", "--model-path", "tinker://run/weights/1"]
    rows = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "one", "model": "fake/b+tinker://run/weights/2"}]
    result, found = run(rows, *options)
    assert result.exit_code == 0
    assert [row["model"] for row in found] == ["fake/a+tinker://run/weights/1", "fake/b+tinker://run/weights/2"]
    asked = [request.json for request in server.requests_to("create_sampling_session")[-2:]]
    assert [(each["base_model"], each["model_path"]) for each in asked] == [
        ("fake/a", "tinker://run/weights/1"), ("fake/b", "tinker://run/weights/2"),
    ]  # fmt: skip


def test_the_best_of_several(run, server):
    """--best-of samples so many answers and keeps as many as are wanted; --best-by says what the best is."""
    result, rows = run([{"id": "a", "prompt": "one"}], "--best-of", "4", "--best-by", "logprob", "-n", "2")
    assert result.exit_code == 0
    assert server.requests_to("asample")[0].json["num_samples"] == 4
    assert rows[0]["parameters"] == {"max_tokens": 4, "num_samples": 2, "best_of": 4, "best_of_by": "logprob"}
    assert run([{"id": "a", "prompt": "one"}], "--best-by", "length")[0].exit_code == 2


def test_choices_or_not(run):
    """Rows with a completion have it scored, unless --no-score says that they are to be sampled."""
    result, rows = run([{"id": "a", "prompt": "one", "completion": " two three"}])
    assert "MissingFeatureError" in result.stderr, "this server scores nothing"
    result, rows = run([{"id": "a", "prompt": "one", "completion": " two three"}], "--no-score")
    assert (result.exit_code, rows[0]["extra"]) == (0, {"completion": " two three"})
    assert [sequence["text"] for sequence in rows[0]["sequences"]] == [" two three"]


def test_a_hopeless_run(server, tmp_path):
    """What must fail every row is one line on stderr, and no output is made."""
    (tmp_path / "in.jsonl").write_text('{"id": 1, "prompt": [1]}\n')
    (tmp_path / "in.txt").write_text("id,prompt\n1,a\n")
    for name, words in (
        ("in.jsonl", "max_tokens is missing: give it in the row, or --max-tokens"),
        ("in.txt", "Is it CSV? Then say --input-format csv."),
    ):
        command = ["batch", "run", str(tmp_path / name), "-o", str(tmp_path / "out.jsonl"), "--base-model", "m"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1
        assert words in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out.jsonl").exists()
    assert not server.counts["asample"]


def test_models_without_a_price(run, tmp_path):
    """What the price table does not know is named, and is no zero."""
    prices = tmp_path / "prices.toml"
    prices.write_text('["fake/a"]\nprompt = 1000000.0\nsampled = 0.0\n')
    rows = [{"id": "a", "prompt": "one"}]
    options = ["--prices", str(prices), "--base-model", "fake/A"]
    told = run(rows, *options, "--dry-run")[0].stdout
    assert "no price for fake/A" in told
    assert "0.0000" not in told
    told = run(rows, *options, "--base-model", "fake/a", "--dry-run")[0].stdout
    assert "at most about 1.0000 by the price table, without fake/A, for which there is no price" in told
    assert "no price for fake/A" in run(rows, *options)[0].stderr
    path = ["--base-model", "fake/a", "--model-path", "tinker://run/weights/1"]
    assert (
        "at most about 1.0000 by the price table\n" in run(rows, "--prices", str(prices), *path, "--dry-run")[0].stdout
    )


def test_changed_parameters(run):
    """Other parameters stop the run with a line that says which, and what to do."""
    run([{"id": "a", "prompt": "one"}])
    result, _ = run([{"id": "a", "prompt": "one"}], "-n", "2")
    assert result.exit_code == 1
    assert "num_samples=None (now 2)" in result.stderr
    assert "--changed redo or --changed keep" in result.stderr
    result, _ = run([{"id": "a", "prompt": "one"}], "-n", "2", "--changed", "keep")
    assert result.exit_code == 0
    assert "--changed keep" in result.stderr


def test_openai_lines(run):
    """Lines of an OpenAI batch come back in OpenAI's shape, with their own ids."""
    message = {"role": "user", "content": "one"}
    line = {"method": "POST", "url": "/v1/completions", "body": {"prompt": "one", "max_tokens": 2, "logprobs": 0}}
    wrong = {"method": "POST", "url": "/v1/completions", "body": {"prompt": "one", "logit_bias": {"1": 2}}}
    other = {"method": "POST", "url": "/v1/embeddings", "body": {"input": "one"}}
    rows = [{"custom_id": name, **each} for name, each in (("x", line), ("y", wrong), ("z", other))]
    result, found = run([*rows, {"id": "chat", "messages": [message]}])
    assert result.exit_code == 1
    assert [row.get("custom_id", row["id"]) for row in found] == ["x", "y", "z", "chat"]
    body = found[0]["response"]["body"]
    assert body["choices"][0]["text"] == " two three"
    assert body["choices"][0]["logprobs"]["tokens"] == [" two", " three"]
    assert body["usage"]["completion_tokens"] == 2
    assert "logit_bias" in found[1]["error"]["message"]
    assert "/v1/embeddings" in found[2]["error"]["message"]
    assert "template" in found[3]["error"]["message"]
    result, _ = run(rows[:1])
    assert "1 there before" in result.stderr


def test_openai_form_on_request(run):
    """--format says the form of the output, whatever form the rows came in."""
    _, rows = run([{"id": "a", "prompt": "one"}], "--format", "openai")
    assert rows[0]["custom_id"] == "a"
    assert rows[0]["response"]["body"]["object"] == "text_completion"


def test_dry_run(run, server, tmp_path):
    """A dry run checks rows, counts tokens, finds rows that are too long, tells cost and time, and sends nothing."""
    prices = tmp_path / "prices.toml"
    prices.write_text('["*"]\nprompt = 1000.0\nsampled = 2000.0\n')
    rows = [{"prompt": "one two"}, {"prompt": "one " * 20}, {"prompt": "one", "temperature": -1}]
    options = ["--dry-run", "--context-window", "10", "--prices", str(prices), "--requests-per-minute", "1"]
    result, found = run(rows, *options, "--base-model", "fake/model")
    assert result.exit_code == 1
    for words in (
        "3 rows for 3 results, 1 of them invalid", "2 prompt tokens, at most 4 sampled", "1 over the context window",
        "at most about 0.0100", "about 0:01:00", "temperature", "nothing was sent",
    ):  # fmt: skip
        assert words in result.stdout
    assert (server.requests, found) == ([], [])
    _, before = run(rows[:1], "--base-model", "fake/model")
    result, after = run(rows, *options, "--base-model", "fake/model")
    assert "1 have results already" in result.stdout
    assert "0 prompt tokens" in result.stdout
    assert before == after


def test_wrong_usage(run, tmp_path):
    """An output that is the input, a wrong limit or a price table with a mistake end the command before it begins."""
    (tmp_path / "prices.json").write_text('{"a": {"promt": 1}}')
    result, _ = run([{"prompt": "one"}], output=tmp_path / "in.jsonl")
    assert result.exit_code == 2
    assert "into the input" in result.stderr
    for options, word in (
        (["--requests-per-minute", "0"], "--requests-per-minute must"),
        (["--prices", str(tmp_path / "prices.json")], "'a'"),
    ):
        result, _ = run([{"prompt": "one"}], *options)
        assert (result.exit_code, word in result.stderr) == (2, True)


def test_other_outputs_are_left_alone(run, tmp_path):
    """A file with something else in it is not written to."""
    (tmp_path / "out.jsonl").write_text('{"precious": 1}\n')
    result, rows = run([{"prompt": "one"}])
    assert (result.exit_code, rows) == (1, [{"precious": 1}])
    assert "does not hold results" in result.stderr


def test_how_to_go_on(monkeypatch):
    """The way to go on can be typed as it stands; where no file holds the results, nothing is promised."""
    from tinkex.cli.batch.interrupt import how_to_go_on

    monkeypatch.setattr("sys.argv", ["tinkex", "batch", "run", "my rows.jsonl", "-o", "it's.jsonl"])
    told = how_to_go_on(results_here=False).splitlines()[-1]
    assert shlex.split(told) == ["tinkex", "batch", "run", "my rows.jsonl", "-o", "it's.jsonl"]
    assert "kept" not in how_to_go_on(results_here=True)
