"""The commands that show what a server has: models, checkpoints, runs, sessions."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tinkex.types import Checkpoint, SupportedModel, TrainingRun

testing = pytest.importorskip("tinkex.testing")
CliRunner = pytest.importorskip("click.testing").CliRunner
app = pytest.importorskip("tinkex.cli._app").app
rows = pytest.importorskip("tinkex.cli.output.rows")
KEY = "tml-a-secret-key-for-tests"
STYLE = re.compile(r"\x1b\[(0|1|2)m")
EVIL = "\x1b[31mred\x1b[0m [bold]b[/bold]\ttab\nline"


@pytest.fixture
def server(monkeypatch):
    """A server that wants its key, which is in the environment."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    with testing.FakeServer(require_key=KEY, strict=True) as running:
        monkeypatch.setenv("TINKER_BASE_URL", running.url)
        yield running
        assert not running.violations


def run(*arguments):
    """Run a command line in this process."""
    return CliRunner().invoke(app, arguments)


def lines(*arguments):
    """What a command prints, which has to go well and quietly: its lines, each cut at its tabs."""
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return [line.split("\t") for line in result.stdout.splitlines()]


def data(*arguments):
    """The JSON that a command prints."""
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    return json.loads(result.stdout)


def test_models(server):
    """A line a model; JSON has all that the server says."""
    assert lines("models") == [["fake/model", "32768", "", "", ""]]
    (model,) = data("models")["models"]
    assert (model["model_name"], model["max_context_length"]) == ("fake/model", 32768)


def test_checkpoints(server):
    """A line a checkpoint, its path first and whole."""
    assert [cells[0] for cells in lines("checkpoints")] == [each.tinker_path for each in server.checkpoints]
    told = data("checkpoints")
    assert (told["total"], told["checkpoints"][0]["time"]) == (8, server.checkpoints[0].time.isoformat())


def test_checkpoints_of_a_run_and_of_a_type(server):
    """A run's id and a type narrow the list."""
    run_id = server.training_runs[0].training_run_id
    found = lines("checkpoints", run_id, "--type", "sampler")
    assert [cells[1] for cells in found] == ["sampler", "sampler"]
    assert all(cells[0].startswith(f"tinker://{run_id}/sampler_weights/") for cells in found)


def test_weights(server):
    """A path tells what its weights are."""
    path = server.checkpoints[0].tinker_path
    assert ["base model", "fake/model"] in lines("checkpoints", path)
    told = data("checkpoints", path)
    assert (told["tinker_path"], told["lora_rank"]) == (path, 32)


def test_limit(server):
    """--limit asks for no more than it shows, and --all for everything."""
    many = [Checkpoint(tinker_path=f"tinker://r/weights/{n}", checkpoint_id=str(n)) for n in range(250)]
    server.checkpoints[:] = many
    assert len(lines("checkpoints")) == 20
    assert server.counts["checkpoints"] == 1
    assert len(lines("checkpoints", "--limit", "120")) == 120
    assert len(lines("checkpoints", "--all")) == 250
    assert len(run("checkpoints", "--jsonl", "-l", "3").stdout.splitlines()) == 3


def test_runs(server):
    """A line a run; one run comes with its checkpoints."""
    ids = [each.training_run_id for each in server.training_runs]
    assert [cells[0] for cells in lines("runs", "--shared", "--project", "p")] == ids
    assert "access_scope=accessible&project_id=p" in server.requests_to("training_runs")[0].path
    shown = lines("runs", ids[0])
    assert ["base model", "fake/model"] in shown
    assert len([cells for cells in shown if cells[0].startswith(f"tinker://{ids[0]}/")]) == 4
    told = data("runs", ids[0])
    assert (told["training_run_id"], len(told["checkpoints"])) == (ids[0], 4)


def test_sessions(server):
    """A line a session; one session tells what its samplers sample from, as far as the server does."""
    with beside(server) as service:
        client = service.create_sampling_client(model_path="tinker://r/sampler_weights/1")
        ((session_id,),) = lines("session")
        assert [client.sampling_session_id, "fake/model", "tinker://r/sampler_weights/1"] in lines(
            "session", session_id
        )
        assert data("session", session_id)["samplers"][0]["model_path"] == "tinker://r/sampler_weights/1"
        server.fail_next("samplers", status=500, times=None)
        result = run("session", session_id, "--timeout", "0.3")
        assert (result.exit_code, f"{client.sampling_session_id}\t\t" in result.stdout.splitlines()) == (0, True)
        assert "repeated" in result.stderr
    assert data("session")["sessions"] == [{"session_id": session_id}]


def beside(server):
    """A client of the server, beside the command."""
    return pytest.importorskip("tinkex").ServiceClient(base_url=server.url, api_key=KEY)


@pytest.mark.parametrize("command", ["checkpoints", "runs", "session"])
def test_nothing_there(server, command):
    """An empty list says so on stderr; stdout stays empty, or is an empty list of JSON."""
    server.checkpoints.clear()
    server.training_runs.clear()
    result = run(command)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("There are no ")
    assert data(command)["total"] in (0, None)


@pytest.mark.parametrize(
    "arguments", [["checkpoints", "no-run"], ["runs", "no-run"], ["session", "none"], ["checkpoints", "tinker://a/b/c"]]
)
def test_unknown(server, arguments):
    """What the server does not know is a failure in one line."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "404" in result.stderr


def test_what_can_be_no_id(server):
    """An argument that can be no id is wrong usage."""
    assert run("session", "..").exit_code == run("runs", " ").exit_code == 2


def test_a_server_without_lists(monkeypatch):
    """A server that keeps no such list is told from one where there is nothing."""
    with testing.FakeServer("open_rl") as server:
        result = run("runs", "--base-url", server.url)
    assert result.exit_code == 1
    assert "keeps no list of training runs" in result.stderr


def test_unreachable_server():
    """A server that nobody runs is told of within the time given."""
    result = run("models", "--base-url", "http://127.0.0.1:9", "--timeout", "0.2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "127.0.0.1" in result.stderr


def poison(server):
    """Let the server say things that could steer a terminal or break a line."""
    server.training_runs[:] = [TrainingRun(training_run_id=EVIL, base_model=EVIL, user_metadata={"a": EVIL})]
    server.checkpoints[:] = [Checkpoint(tinker_path=f"tinker://{EVIL}/weights/1", checkpoint_id="x")]


def test_hostile_words_in_a_pipe(server):
    """The words of a server neither break a line nor carry control characters."""
    poison(server)
    for command in ("runs", "checkpoints"):
        result = run(command)
        assert result.stdout.count("\n") == 1
        assert "\x1b" not in result.stdout
        assert "[bold]b[/bold] tab line" in result.stdout
    assert data("runs")["training_runs"][0]["training_run_id"] == EVIL


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Run a command on a terminal of a given width; what it shows, without styles."""

    def show(width, *arguments):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
        with pytest.raises(SystemExit) as ended:
            app([*arguments], prog_name="tinkex")
        assert ended.value.code == 0
        return STYLE.sub("", capsys.readouterr().out)

    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return show


def test_wide_terminal(server, terminal):
    """Where there is room the list is a table with a header."""
    shown = terminal(160, "checkpoints").splitlines()
    assert shown[0].split() == ["path", "type", "saved", "size"]
    assert shown[1].startswith(server.checkpoints[0].tinker_path)
    assert "41.9 MB" in shown[1]


def test_narrow_terminal(server, terminal):
    """Where there is none, each path has a line of its own and can be copied."""
    shown = terminal(60, "checkpoints").splitlines()
    assert shown[0].rstrip() == server.checkpoints[0].tinker_path
    assert shown[1].startswith("  type sampler, saved ")


def test_hostile_words_on_a_terminal(server, terminal):
    """Markup and control characters in a server's words are shown, or dropped, but never obeyed."""
    poison(server)
    for width in (60, 200):
        shown = terminal(width, "runs") + terminal(width, "checkpoints")
        assert "\x1b[31m" not in shown
        assert "[bold]b[/bold]" in shown


def test_wide_characters(server, terminal):
    """Characters that take two cells are counted as two."""
    server._engine.models[:] = [SupportedModel("模型/一" * 12, 512), SupportedModel("m", 512)]
    _, first, second = terminal(120, "models").splitlines()
    assert first.startswith("模型/一" * 12 + "  512")
    assert second.startswith("m" + " " * 85 + "512")
    assert terminal(80, "models").splitlines()[0].rstrip() == "模型/一" * 12


def test_sizes():
    """Sizes are in decimal units."""
    assert [rows.size(count) for count in (0, 1000, 2_500_000_000, 10**18)] == [
        "0 B",
        "1.0 kB",
        "2.5 GB",
        "1000000.0 TB",
    ]
