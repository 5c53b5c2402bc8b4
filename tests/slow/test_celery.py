from __future__ import annotations

import importlib
import json
import signal
import sys

import pytest
from loading import APPS, MAX_TOKENS, Program, prompt_of, wait_until

from tinkex.testing import FakeServer, expected_tokens

SEQUENCE_BLOCK = 1_000_000_000
# The application as documented, in a parent that has sampled, and still does, when it forks.
WARM = """
import tinkex
from sampling import sampling_client
from tasks import complete, tasks

PARAMS = tinkex.SamplingParams(max_tokens=4)
sampling_client().sample([9], PARAMS).result(10)
inherited = sampling_client().sample([9, 9], PARAMS)

@tasks.task
def what_became_of_the_parents_future():
    return type(inherited.exception(5)).__name__
"""


class Queue:
    """A queue of tasks and their results, in folders: no server is needed."""

    def __init__(self, folder, patch):
        patch.chdir(folder)
        (folder / "warm_tasks.py").write_text(WARM)
        self._folder = folder
        for path in (folder, APPS):
            patch.syspath_prepend(path)
        self._complete = importlib.import_module("tasks").complete
        self._results = []

    def send(self, count):
        """Queue so many tasks."""
        self._results = [self._complete.delay(prompt_of(number)) for number in range(count)]

    def ask(self, task):
        """The result of a task given by name."""
        return self._complete.app.send_task(task).get(timeout=30)

    def done(self):
        """How many tasks have a result."""
        return len(list((self._folder / "results").glob("celery-task-meta-*")))

    def worker(self, tinker, app="tasks"):
        """A worker of eight processes."""
        command = [f"{sys.exec_prefix}/bin/celery", "-A", app, "worker", "--concurrency", 8, "--loglevel", "WARNING"]
        command += ["--without-gossip", "--without-mingle"]
        return Program(command, tinker.url, self._folder / "log", path=self._folder)

    def check(self, tinker):
        """Every task has its own result, and was computed once."""
        prompts = [prompt_of(number) for number in range(len(self._results))]
        got = [result.get(timeout=1) for result in self._results]
        assert got == [expected_tokens(prompt, max_tokens=MAX_TOKENS) for prompt in prompts]
        asked = [
            tuple(json.loads(each.body)["prompt"]["chunks"][0]["tokens"]) for each in tinker.requests_to("asample")
        ]
        assert sorted(tokens for tokens in asked if len(tokens) == 3) == sorted(prompts)


@pytest.fixture
def tinker():
    """A Tinker server whose samples take a moment, and one of a parent's five seconds."""
    with FakeServer(strict=True, latency=lambda request, _: 5.0 if request.prompt.to_ints() == [9, 9] else 0.2) as fake:
        yield fake
        assert fake.violations == []


@pytest.fixture
def queue(tinker, tmp_path, monkeypatch):
    """An empty queue."""
    monkeypatch.setenv("TINKER_BASE_URL", tinker.url)
    yield Queue(tmp_path, monkeypatch)
    for name in ("tasks", "sampling", "celeryconfig"):
        sys.modules.pop(name, None)


def work(queue, tinker, count, restarts, app="tasks"):
    """Have tasks done by a worker that is restarted in the middle, and then warmly shut down, and by its successor."""
    queue.send(count)
    part = count // (restarts + 3)
    with queue.worker(tinker, app) as worker:
        wait_until(lambda: queue.done() >= part)
        for _ in range(restarts):
            reached = queue.done() + part
            worker.signal(signal.SIGHUP)
            wait_until(lambda reached=reached: queue.done() >= reached)
        worker.signal(signal.SIGTERM)
        worker.ends(30)
    assert queue.done() < count
    with queue.worker(tinker, app) as worker:
        wait_until(lambda: queue.done() == count, 60)
        worker.signal(signal.SIGTERM)
        worker.ends(30)
    queue.check(tinker)


@pytest.mark.slow
def test_a_warm_shutdown(queue, tinker):
    """The tasks under way end, the others wait for the next worker, all processes finish their sessions."""
    work(queue, tinker, 100, restarts=0)
    assert tinker.counts["finish"] == tinker.counts["create_session"] == 16


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_restarts_in_mid_load(queue, tinker):
    """Restarts lose no task, and repeat none."""
    work(queue, tinker, 600, restarts=2)
    assert tinker.counts["finish"] == tinker.counts["create_session"] == 32


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_a_parent_that_samples_when_it_forks(queue, tinker):
    """Its processes have connections, threads and numbers of their own, and its own futures end in them by an error."""
    work(queue, tinker, 300, restarts=1, app="warm_tasks")
    bodies = [json.loads(request.body) for request in tinker.requests_to("asample")]
    numbers = [(body["sampling_session_id"], body["seq_id"]) for body in bodies]
    assert len(set(numbers)) == len(numbers)
    assert len({(session, number // SEQUENCE_BLOCK) for session, number in numbers}) == 3 * (8 + 1)
    with queue.worker(tinker, "warm_tasks") as worker:
        assert queue.ask("warm_tasks.what_became_of_the_parents_future") == "ForkedFutureError"
        worker.signal(signal.SIGTERM)
        worker.ends(30)
