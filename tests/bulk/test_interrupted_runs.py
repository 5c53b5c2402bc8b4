"""Ctrl-C at any moment of a run: nothing goes on behind the caller's back."""

from __future__ import annotations

import json
import threading

import pytest

import tinkex
from tinkex import bulk
from tinkex.future import SampleFuture


class Endless:
    """A client whose samples never end."""

    def __init__(self):
        self.futures = []

    def sample(self, prompt, params, **options):
        self.futures.append(SampleFuture(None))
        return self.futures[-1]

    def stats(self):
        return tinkex.ServiceStats()


@pytest.fixture
def client():
    """A client whose samples never end."""
    return Endless()


@pytest.fixture
def run(client, tmp_path):
    """Begins a run of many rows."""
    rows = [{"id": number, "prompt": [1, 2]} for number in range(1000)]
    models = bulk.Models(("m",), lambda name: client)

    def go(**options):
        bulk.run(rows, tmp_path / "out.jsonl", models, max_tokens=1, omit=["text"], **options)

    return go


@pytest.fixture(autouse=True)
def earlier(monkeypatch):
    """The threads that earlier tests of this process have left, as those with rows that never come do."""
    monkeypatch.setattr(feeders, "earlier", frozenset(threading.enumerate()), raising=False)


def feeders():
    """The threads of this test's runs that read rows."""
    return [each for each in threading.enumerate() if each.name == "tinkex-bulk" and each not in feeders.earlier]


def wait_for_the_end(threads):
    """Let threads end, at most some seconds."""
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_while_the_feeder_starts(client, run, monkeypatch):
    """Ctrl-C while the run's thread starts ends the run: its rows are cancelled and the output is free."""

    class Interrupted(threading.Thread):
        def start(self):
            super().start()
            if self.name == "tinkex-bulk":
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tinkex.bulk._engine.threading.Thread", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    wait_for_the_end(feeders())
    assert all(future.cancelled() for future in client.futures)
    with pytest.raises(ZeroDivisionError):
        run(on_progress=lambda progress: 1 / 0)
    wait_for_the_end(feeders())


def test_a_kept_traceback_keeps_no_row_in_flight(client, run):
    """What is in flight is cancelled when the interrupt leaves `run`, also where the traceback is kept."""

    def interrupt(progress):
        if client.futures:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        run(on_progress=interrupt)
    assert kept.tb is not None
    wait_for_the_end(feeders())
    assert client.futures
    assert all(future.cancelled() for future in client.futures)


def test_a_row_that_is_submitted_too_late_is_cancelled(client, run):
    """A row that was let in before the interrupt and submitted after it is cancelled all the same."""
    entered, left = threading.Event(), threading.Event()
    sample = client.sample

    def slow(prompt, params, **options):
        entered.set()
        left.wait(10)
        return sample(prompt, params, **options)

    client.sample = slow

    def interrupt(progress):
        entered.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_progress=interrupt)
    threads = feeders()
    left.set()
    wait_for_the_end(threads)
    assert [future.cancelled() for future in client.futures] == [True]


@pytest.mark.parametrize("row", [{"prompt": [1]}, {"prompt": [1], "choices": [[1], [2]]}])
def test_a_sample_that_is_cancelled(client, tmp_path, row):
    """A row whose sample something else has cancelled is an error row like any other, and the run goes on."""
    sample = client.sample

    def cancelled(prompt, params, **options):
        future = sample(prompt, params, **options)
        future.cancel()
        return future

    client.sample = cancelled
    output = tmp_path / "out.jsonl"
    summary = bulk.run([row, row], output, bulk.Models(("m",), lambda name: client), max_tokens=1, omit=["text"])
    assert (summary.done, summary.failed) == (0, 2)
    assert {json.loads(line)["error"]["type"] for line in output.read_text().splitlines()} == {"CancelledError"}
