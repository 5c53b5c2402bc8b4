"""Weights that change between two runs of one batch."""

from __future__ import annotations

import functools
import io
from concurrent.futures import Future

import attrs
import pytest
from serving import make_service

from tinkex import bulk
from tinkex.check.canary import canary_prompts, read_canaries
from tinkex.testing import EngineError, FakeServer, default_answer

ROWS = [{"id": number, "prompt": [number]} for number in range(1, 7)]


def shifted(by):
    """Answers under weights that find each token of a prompt less likely by so much."""

    def answers(request):
        answer = default_answer(request)
        scores = answer.prompt_logprobs
        return answer if scores is None else attrs.evolve(answer, prompt_logprobs=[None, *(s - by for s in scores[1:])])

    return answers


@pytest.fixture
def server():
    """A server of one set of weights."""
    with FakeServer() as running:
        yield running


@pytest.fixture
def go(server, tmp_path):
    """Run some of the rows; returns the summary and what is kept beside the output."""

    def run(rows, models=("m",), **options):
        with make_service(server) as service:
            clients = {name: service.create_sampling_client(base_model=name) for name in models}
            summary = bulk.run(rows, tmp_path / "out.jsonl", clients, **{"max_tokens": 2, "omit": ["text"], **options})
        return summary, read_canaries(tmp_path / "out.jsonl.canary.json")

    return run


def scored(server):
    """How many prompts the server has scored."""
    return sum(bool(request.json.get("prompt_logprobs")) for request in server.requests_to("asample"))


def test_the_same_weights(go, server):
    """The first run keeps the numbers of each model; a later one with the same weights has nothing to say."""
    summary, kept = go(ROWS[:3], ("m", "n"))
    assert (sorted(kept), kept["m"].prompts, summary.notes) == (["m", "n"], canary_prompts(), ())
    server.answers = shifted(0.01)
    assert go(ROWS, ("m", "n")) == (
        attrs.evolve(summary, skipped=6, seconds=pytest.approx(summary.seconds, abs=30)),
        kept,
    )
    assert scored(server) == 2 * 2 * len(canary_prompts())


@pytest.mark.parametrize("now", [shifted(1.0), shifted(float("inf"))])
def test_other_weights(go, server, caplog, now):
    """A run that goes on with other weights says so, in the summary and the log; so does each one after it."""
    _, kept = go(ROWS[:3], ("m", "n"))
    server.answers = now
    for rows in (ROWS[:5], ROWS):
        caplog.clear()
        summary, after = go(rows, ("m", "n", "new"))
        assert sorted(note.partition(" ")[0] for note in summary.notes) == ["m", "n"]
        assert "has other weights than in the run before" in summary.notes[0]
        assert summary.notes[0] in caplog.text
        assert [after[name] for name in ("m", "n")] == [kept["m"], kept["n"]]
        assert "new" in after


def test_another_engine_samples_alone(go, server):
    """Where other processes sample, this one asks the server for nothing, and keeps no numbers."""
    from tinkex.bulk._engine import perform

    summary, kept = go(ROWS[:3], engine=functools.partial(perform))
    assert (summary.done, kept, scored(server)) == (3, {}, 0)


def test_a_finished_run_asks_for_nothing(go, server):
    """Where nothing is left to sample, no weights are looked at."""
    go(ROWS)
    before = scored(server)
    assert go(ROWS)[0].skipped == 6
    assert scored(server) == before


def test_another_output_under_the_same_name(go, server, tmp_path):
    """Numbers of an output that is gone are not compared with, but replaced."""
    _, kept = go(ROWS)
    (tmp_path / "out.jsonl").unlink()
    server.answers = shifted(1.0)
    summary, after = go(ROWS)
    assert summary.notes == ()
    assert after["m"] != kept["m"]


def test_it_can_be_left_out(go, server, tmp_path):
    """With canary=False, and for an output that is no file, nothing is asked or kept."""
    go(ROWS, canary=False)
    with make_service(server) as service:
        client = service.create_sampling_client(base_model="m")
        bulk.run(ROWS, io.BytesIO(), client, max_tokens=2, omit=["text"])
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert scored(server) == 0


def test_numbers_that_are_cancelled(go, monkeypatch):
    """A run is not lost to them, as where the service is closed in its last moment."""
    go(ROWS[:3])

    def cancelled(*_, **__):
        future = Future()
        future.cancel()
        return future

    monkeypatch.setattr("tinkex.SamplingClient.compute_logprobs", cancelled)
    summary, _ = go(ROWS)
    assert (summary.done, summary.skipped) == (3, 3)
    assert "m has the weights of the run before is not known: CancelledError" in summary.notes[0]


def test_a_server_that_scores_nothing(go, server):
    """Then there are no numbers, and nothing is said of it; where there were some, the run says that it cannot tell."""

    def refuse(request):
        if request.include_prompt_logprobs:
            raise EngineError("no log-probabilities here", 400, "user")
        return default_answer(request)

    server.answers = refuse
    summary, kept = go(ROWS[:2])
    assert (summary.done, summary.notes, kept) == (2, (), {})
    server.answers = default_answer
    assert go(ROWS[:4])[1]
    server.answers = refuse
    summary, _ = go(ROWS)
    assert "not known: The server failed the request: no log-probabilities here" in summary.notes[0]


def test_numbers_that_cannot_be_read(go, tmp_path):
    """They are left as they are, and the run goes on without."""
    go(ROWS[:3])
    (tmp_path / "out.jsonl.canary.json").write_text("{}")
    with pytest.raises(ValueError, match="no file of canary numbers"):
        go(ROWS)
    assert (tmp_path / "out.jsonl.canary.json").read_text() == "{}"
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6


def test_a_run_that_is_long(go, server, monkeypatch):
    """Its numbers are kept while it goes on: the run that goes on after a sudden end has them."""
    monkeypatch.setattr(bulk._run, "_LONG_SECONDS", -1.0)
    server.hold()
    seen = []

    def progress(_):
        if scored(server) and not seen:
            seen.append(server.release())

    go(ROWS[:1], on_progress=progress, timeout=60.0)
    assert scored(server) == len(canary_prompts())
