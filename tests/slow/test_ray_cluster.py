"""Bulk sampling on Ray: the results of one process, from several, some of which die on the way."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import tinkex
from tinkex import bulk
from tinkex.testing import FakeServer, expected_tokens

if importlib.util.find_spec("ray") is None:  # imported later: what Ray listens on is settled by its import
    pytest.skip("needs the ray extra", allow_module_level=True)
psutil = pytest.importorskip("psutil")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]  # warnings: Ray's own
ROOT = pathlib.Path(__file__).resolve().parents[2]
DRIVER, WORKER = "tml-of-the-driver", "tml-of-the-worker"


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, started by tinkex; its processes find a key in their environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("TINKER_API_KEY", WORKER)
        patch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")  # nobody looks for a tokenizer of the fake model
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # another test may have imported Ray
        patch.delenv("RAY_ADDRESS", raising=False)
        import tinkex.ray

        tinkex.ray.start()
        import ray

        yield ray
        ray.shutdown()


@pytest.fixture
def server(ray):
    """A strict server, slow enough for all actors to take part."""
    with FakeServer(strict=True, latency=0.3) as fake:
        yield fake
        assert not fake.violations


@pytest.fixture
def client(server):
    """A client with a key of its own, which stays where it is."""
    with tinkex.ServiceClient(base_url=server.url, api_key=DRIVER) as service:
        yield service.create_sampling_client(base_model="fake/model")


def rows(count):
    """Prompts that all differ."""
    return [{"id": f"row-{number}", "prompt": [number + 1]} for number in range(count)]


def read(path):
    """The rows of an output."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def check(found, count):
    """Every id is there once, in the order of the input, with the tokens that belong to its prompt."""
    assert [row["id"] for row in found] == [f"row-{number}" for number in range(count)]
    for number, row in enumerate(found):
        assert row["sequences"][0]["tokens"] == expected_tokens([number + 1], max_tokens=4), row


def most_in_flight(found):
    """How many rows were under way at once."""
    events = [(row["started_at"], 1) for row in found] + [(row["finished_at"], -1) for row in found]
    return max(itertools.accumulate(step for _, step in sorted(events)))


def ray_processes():
    """The processes under this one that are Ray's."""
    return psutil.Process().children(recursive=True)


def actors():
    """Those that sample."""
    return [process for process in ray_processes() if "MapWorker" in " ".join(process.cmdline())]


def test_ray_is_for_this_machine_only(ray):
    """A Ray that tinkex starts listens on the loopback."""
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in ray_processes()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_engine(ray, server, client, tmp_path):
    """A run on Ray gives the file that one process gives, within the same limits; the next tries what failed again."""
    from tinkex.ray import RayEngine

    path, engine = tmp_path / "out.jsonl", RayEngine(actors=2, rows_at_once=8)
    work = [*rows(300), {"id": "bad", "prompt": 7}]
    limits = bulk.Limits(max_in_flight=40)
    first = bulk.run(work, path, client, engine=engine, limits=limits, max_tokens=4, omit=("text",))
    assert (first.done, first.failed) == (300, 1)
    found = read(path)
    check(found[:-1], 300)
    assert most_in_flight(found) <= 40
    assert (found[-1]["status"], found[-1]["error"]["type"]) == ("error", "InvalidRowError")
    samples = server.requests_to("asample")
    assert {request.key for request in samples} == {WORKER}
    assert len({request.json["seq_id"] // 1_000_000_000 for request in samples}) == 2
    again = bulk.run(work, path, client, engine=engine, limits=limits, max_tokens=4, omit=("text",))
    assert (again.done, again.failed, again.skipped) == (0, 1, 300)
    assert len(server.requests_to("asample")) == len(samples)


def test_killed_actor(ray, server, client, tmp_path):
    """An actor that is killed in the middle loses nothing: every row is there once, with the right content."""
    from tinkex.ray import RayEngine

    path, killed = tmp_path / "out.jsonl", []

    def kill(progress):
        if progress.done >= 20 and not killed:
            killed.append(max(actors(), key=lambda process: len(process.net_connections())).pid)
            os.kill(killed[0], signal.SIGKILL)

    engine = RayEngine(actors=2, rows_at_once=8)
    limits = bulk.Limits(max_in_flight=32, adaptive=False)
    summary = bulk.run(
        rows(400), path, client, engine=engine, limits=limits, max_tokens=4, omit=("text",), on_progress=kill
    )
    assert killed
    assert (summary.done, summary.failed) == (400, 0)
    check(read(path), 400)
    assert len(server.requests_to("asample")) > 400  # what it was at work on was sampled again


def test_map_batches(ray, server, client):
    """A Ray data set gets the samples as columns, its own columns stay; an error is a row like the others."""
    from tinkex.ray import map_batches

    items = [{"prompt": [number + 1], "label": str(number)} for number in range(50)]
    dataset = map_batches(
        ray.data.from_items([*items, {"prompt": [], "label": "bad"}]), client, max_tokens=4, omit=["text"]
    )
    found = {row["label"]: row for row in dataset.take_all()}
    assert len(found) == 51
    bad = found.pop("bad")
    assert (bad["status"], bad["text"]) == ("error", [])
    assert "empty" in bad["error"]
    for label, row in found.items():
        assert row["status"] == "ok"
        tokens = json.loads(row["record"])["sequences"][0]["tokens"]
        assert tokens == expected_tokens([int(label) + 1], max_tokens=4)
    with pytest.raises(TypeError, match="max_token'"):
        map_batches(dataset, client, max_token=4)


def test_command(ray, server, tmp_path, monkeypatch):
    """`tinkex batch run --engine ray` is the same run on the cluster."""
    from click.testing import CliRunner

    from tinkex.cli._app import app

    monkeypatch.setenv("TINKER_API_KEY", DRIVER)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source, path = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows(60)))
    line = ["batch", "run", str(source), "-o", str(path), "--base-url", server.url, "--base-model", "fake/model"]
    result = CliRunner().invoke(app, [*line, "--max-tokens", "4", "--engine", "ray"])
    assert result.exit_code == 0, result.stderr
    check(read(path), 60)
    assert {request.key for request in server.requests_to("asample")} == {WORKER}


def test_a_home_that_cannot_be_written(server, tmp_path):
    """Where the home folder cannot be written, Ray on this machine works all the same, and says nothing of it."""
    source, path = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows(10)))
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS")
    environ = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "tinkex", "batch", "run", str(source), "-o", str(path), "--base-url", server.url]
    done = subprocess.run(
        [*command, "--base-model", "fake/model", "--max-tokens", "4", "--engine", "ray", "--actors", "1"],
        env={**environ, "HOME": "/proc/nope", "TINKER_API_KEY": DRIVER}, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "oken authentication" not in done.stderr
    check(read(path), 10)
