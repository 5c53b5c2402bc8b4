"""``tinkex check`` against servers that sample as they are asked to, and servers that do not."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("numpy")
pytest.importorskip("aiohttp")

from click.testing import CliRunner
from faulty_models import OneMore

from tinkex import testing
from tinkex.check import ALL_NAMES
from tinkex.cli._app import app
from tinkex.report import check_report

KEY = "tml-a-secret-key-for-tests"
PROTOCOL = ("repeated submission", "request ids", "long polls", "unknown request", "cancel", "formats", "compression")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    """A key in the environment, and no server."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.delenv("TINKER_BASE_URL", raising=False)


@pytest.fixture
def serve():
    """Start a server of a toy model; it is strict, and wants the key."""
    running = []

    def start(like="tinker", **options):
        options = {"answers": testing.ToyModel(draws=1), "require_key": KEY, **options}
        running.append(testing.FakeServer(like, strict=True, **options).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()
        assert {each.rule for each in server.violations} <= {"cancelled"}  # polled, to see whether it was


def check(server, *arguments, expect=0):
    """What the command says about a server: verdicts by name, and the report."""
    result = CliRunner().invoke(app, ["check", "--json", "--base-url", server.url, *arguments])
    assert result.exit_code == expect, result.output
    assert KEY not in result.output
    report = json.loads(result.stdout)
    assert report["ok"] is (expect == 0)
    return {each["name"]: each for each in report["results"]}, report


def only(*names):
    """The options for some checks."""
    return [word for name in names for word in ("--only", name)]


@pytest.mark.slow
def test_good_server(serve):
    """A good server has no fault in any check; the number of requests is within what was said, and so are tokens."""
    server = serve()
    found, report = check(server, "--end-token", "2")
    assert tuple(found) == ALL_NAMES
    strange = {name for name, each in found.items() if each["verdict"] not in ("ok", "skipped")}
    assert strange - {"cancel"} == {"request ids", "compression"}  # a cancel may come too late
    assert report["requests"] <= server.counts.total()
    assert server.counts["asample"] < 500
    assert report["prompt_tokens"] + report["sampled_tokens"] < 12_000
    assert report["model"] == "fake/model"


def test_budget_is_said(serve):
    """What it takes is said before the first sample; a dry run says it, and sends none."""
    server = serve()
    result = CliRunner().invoke(app, ["check", "--base-url", server.url, "--dry-run"])
    assert result.exit_code == 0
    assert "Up to" in result.stderr
    assert "tokens of prompts" in result.stderr
    assert server.counts["asample"] == 0


@pytest.mark.slow
def test_budget_is_kept(serve):
    """Within a budget, the first checks that fit are run, and the others are told of as skipped."""
    server = serve()
    found, report = check(server, "--budget", "5000")
    assert report["prompt_tokens"] + report["sampled_tokens"] <= 5000
    assert found["temperature 0"]["verdict"] == "ok"
    assert found["cost of many samples"]["says"] == "it does not fit into the budget"
    found, report = check(server, "--budget", "0")
    assert (report["prompt_tokens"], report["sampled_tokens"]) == (0, 0)
    assert {each["verdict"] for name, each in found.items() if name != "max_tokens"} == {"skipped"}


def test_default_answers(serve):
    """The fake server's own answers go by no parameter, and are found out."""
    found, _ = check(serve(answers=None), *only("temperature 1", "top_k 1", "top_p"), expect=1)
    assert [each["verdict"] for each in found.values()] == ["fault"] * 3
    assert all(each["p"] < 1e-5 and each["means"] and each["advice"] for each in found.values())


@pytest.mark.slow
def test_more_than_asked_for(serve):
    """An answer that the client refuses, since it is longer than asked for, is a fault with its numbers."""
    found, _ = check(serve(answers=OneMore(draws=1)), *only("top_k 1", "max_tokens"), expect=1)
    assert found["max_tokens"]["says"] == "9 tokens came for max_tokens=8"


def test_checkpoint_is_the_base_model(serve):
    """Saved weights that are the base model to the last digit are a fault, as on hatchery."""
    found, _ = check(serve(), "--base-model", "m", "--model-path", "tinker://a/sampler_weights/1",
                     *only("saved weights"), expect=1)  # fmt: skip
    assert "tinker://a/sampler_weights/1 and the base model" in found["saved weights"]["says"]
    assert found["saved weights"]["verdict"] == "fault"


WEIGHTS = ("tinker://a/sampler_weights/1", "tinker://a/sampler_weights/2")


def test_weights_that_were_trained(serve, tmp_path):
    """Saved weights that differ from the base model and from each other, and stay what they are, pass every check."""
    trained = {path: testing.ToyModel(draws=1, seed=seed) for seed, path in enumerate(WEIGHTS, 7)}
    server = serve(answers={"*": testing.ToyModel(draws=1), **trained})
    names, kept = ("saved weights", "weights stay the same", "canary numbers"), tmp_path / "canary.json"
    options = ["--model-path", WEIGHTS[0], "--model-path", WEIGHTS[1], "--canary", str(kept), *only(*names)]
    for verdict in ("unknown", "ok"):
        found, _ = check(server, "--base-model", "m", *options)
        assert [found[name]["verdict"] for name in names] == ["ok", "ok", verdict]
    assert found["saved weights"]["says"].count("log-probabilities differ") == 3
    server.answers = {**server.answers, WEIGHTS[1]: testing.ToyModel(draws=1, seed=9)}
    found, _ = check(server, "--base-model", "m", *options, expect=1)
    assert [found[name]["verdict"] for name in names] == ["ok", "ok", "fault"]
    assert found["canary numbers"]["says"].startswith(WEIGHTS[1])


def test_weights_that_move_while_they_are_sampled(serve):
    """Saved weights that are others at the end of the run are a fault."""
    moved = Moves(testing.ToyModel(draws=1, seed=7), testing.ToyModel(draws=1, seed=8), after=3)
    server = serve(answers={"*": testing.ToyModel(draws=1), WEIGHTS[0]: moved})
    found, _ = check(server, "--base-model", "m", "--model-path", WEIGHTS[0],
                     *only("saved weights", "weights stay the same"), expect=1)  # fmt: skip
    assert [each["verdict"] for each in found.values()] == ["ok", "fault"]


class Moves:
    """Answers that are those of another model after a number of requests."""

    def __init__(self, *models, after):
        self.models = list(models)
        self.left = after

    def __call__(self, request):
        self.left -= 1
        return self.models[self.left < 0](request)


@pytest.mark.slow
def test_canary(serve, tmp_path):
    """Canary numbers are kept in a file; the next run says whether the weights are the same, and keeps the old ones."""
    file, options = tmp_path / "canary.json", [*only("canary numbers"), "--canary"]
    found, _ = check(serve(), *options, str(file))
    assert found["canary numbers"]["verdict"] == "unknown"
    kept = file.read_bytes()
    found, _ = check(serve(), *options, str(file))
    assert found["canary numbers"]["verdict"] == "ok"
    for _ in range(2):
        found, _ = check(serve(answers=testing.ToyModel(5)), *options, str(file), expect=1)
        assert "log-probabilities differ" in found["canary numbers"]["says"]
    assert file.read_bytes() == kept


LONG = {"latency": 0.7}
SERVERS = [
    ("repeated submission", "ok", {}, []),
    ("repeated submission", "absent", {"dedupe": False}, []),
    ("long polls", "ok", LONG, []),
    ("long polls", "absent", {**LONG, "long_poll": 0.0}, []),
    ("long polls", "absent", {**LONG, "long_poll": 0.0, "pending": "try_again"}, []),
    ("unknown request", "ok", {}, []),
    ("unknown request", "fault", {"unknown_pending": True}, []),
    ("cancel", "ok", LONG, []),
    ("cancel", "absent", {"missing": frozenset({"cancel_future"})}, []),
    ("cancel", "fault", LONG, [("cancel_future", {"status": 200, "body": {}})]),
    ("formats", "ok", {}, []),
    ("formats", "absent", {"answer": "json"}, []),
    ("formats", "absent", {"answer": "protobuf"}, []),
    ("compression", "absent", {}, []),
    ("request ids", "absent", {}, []),
]


@pytest.mark.thin(3)
@pytest.mark.parametrize(("name", "verdict", "options", "planned"), SERVERS)
def test_protocol(serve, name, verdict, options, planned):
    """Each check of the protocol finds what a server lacks or does wrong, and passes where it does not."""
    server = serve(**options)
    for endpoint, answer in planned:
        server.fail_next(endpoint, times=1000, **answer)
    found, report = check(server, *only(name), expect=int(verdict == "fault"))
    assert found[name]["verdict"] == verdict, found[name]["says"]
    assert server.counts["asample"] <= 3
    assert report["sampled_tokens"] <= 400


def test_compression(serve):
    """A body that is compressed though the client did not ask for it is found out."""
    server = serve()
    server.fault("retrieve_future", "gzip", times=1000)
    found, _ = check(server, *only("compression"), expect=1)
    assert "gzip came where identity was asked for" in found["compression"]["says"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("faulty", [False, True])
def test_protocol_many_times(faulty):
    """In 200 runs a good server is never accused, and one that forgets requests and compresses unasked is each time."""
    with testing.FakeServer(answers=testing.ToyModel(draws=1), unknown_pending=faulty) as server:
        if faulty:
            server.fault("retrieve_future", "gzip", times=1_000_000, when=lambda request: len(request.body) < 25)
        for _ in range(200):
            found, _ = check(server, *only(*PROTOCOL), expect=int(faulty))
            accused = {name for name, each in found.items() if each["verdict"] == "fault"}
            assert accused == ({"unknown request", "compression"} if faulty else set())


@pytest.mark.thin(4)
@pytest.mark.parametrize("like", ["tuft", "hatchery", "open_rl", "twinkle", "tinker_cloud", "skyrl", "skyrl_0.3"])
def test_other_servers(serve, like):
    """Plain requests are understood by each kind of server."""
    server = serve(like, long_poll=5.0, bearer=True)
    found, _ = check(server, *only(*PROTOCOL), expect=int(like in ("open_rl", "twinkle")))
    assert found["repeated submission"]["verdict"] == "absent"
    assert found["cancel"]["verdict"] == "absent"
    assert found["unknown request"]["verdict"] == ("fault" if like in ("open_rl", "twinkle") else "ok")
    assert found["long polls"]["verdict"] == "ok"


def test_refused_key(serve):
    """A server that refuses the key is an error, in one line."""
    result = CliRunner().invoke(app, ["check", "--base-url", serve(require_key="tml-another-key").url])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--local", "--base-model", "m"], "--local stands alone"),
        (["--only", "speed"], "speed"),
        (["--budget", "-1"], "budget"),
        (["--model-path", "nowhere"], "model_path"),
        (["--canary", __file__], "no file of canary numbers"),
    ],
)
def test_wrong_usage(serve, arguments, says):
    """Wrong options end with exit code 2, and say what is wrong; nothing is sampled."""
    server = serve()
    where = [] if "--local" in arguments else ["--base-url", server.url]
    result = CliRunner().invoke(app, ["check", *where, *arguments])
    assert result.exit_code == 2
    assert says in result.stderr
    assert server.counts["asample"] == 0


def test_lines_and_page(serve, tmp_path):
    """Each check is a line, with what a fault means below it; the page says the same, and runs no script."""
    page = tmp_path / "check.html"
    result = CliRunner().invoke(
        app, ["check", "--base-url", serve(answers=None).url, *only("top_k 1", "seed"), "--html", str(page)]
    )
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("top_k 1\tfault\tfor 12 of 12 prompts")
    assert lines[1].startswith("\tmeans\ttop_k 1 is not applied")
    assert lines[2].startswith("\tnext\t")
    assert lines[3].startswith("seed\tok\t")
    text = page.read_text()
    assert "top_k 1 is not applied" in text
    assert "<script" not in text


def test_hostile_page():
    """Words of a server stay words on the page."""
    evil = "<script>alert(1)</script>\x1b[31m"
    result = {
        "name": "seed",
        "verdict": "fault",
        "says": evil,
        "means": evil,
        "advice": evil,
        "evidence": {evil: [evil]},
    }
    page = check_report(
        {"server": evil, "model": evil, "results": [result], "requests": 1, "prompt_tokens": 1, "sampled_tokens": 1,
         "seconds": 1.0}
    )  # fmt: skip
    assert "<script" not in page
    assert "\x1b" not in page
