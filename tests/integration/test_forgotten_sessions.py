"""A server that has forgotten its sessions, as after a restart without a database."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import pickle
from urllib.parse import urlsplit

import pytest
from resting import rest
from serving import KEY, MODEL, PARAMS, PROMPT, advance_until, all_done, make_service, sampling

import tinkex
from tinkex import bulk
from tinkex.errors import NotFoundError
from tinkex.testing import FakeServer, ManualClock

PATH = "tinker://run/sampler_weights/1"
KINDS = ("tinker", "tuft", "hatchery", "open_rl", "twinkle", "skyrl")


class Restartable:
    """A fake server that can be replaced by one without a memory, at the same address."""

    def __init__(self, like="tinker", **options):
        self.like, self.options = like, options
        self.server = FakeServer(like, **options).start()
        self.url = self.server.url

    def restart(self):
        """End the server, once nothing more happens by itself, and start another where it was."""
        rest()
        self.server.stop()
        self.server = FakeServer(self.like, port=urlsplit(self.url).port, **self.options).start()

    def close(self):
        """End it."""
        self.server.stop()

    def __getattr__(self, name):
        return getattr(self.server, name)


@pytest.fixture
def server():
    """A server that keeps the rules of the protocol, and can be restarted."""
    with contextlib.closing(Restartable(strict=True)) as made:
        yield made
        assert not made.violations


@pytest.mark.thin(2)
@pytest.mark.parametrize("like", KINDS)
def test_samples_and_clients_go_on(like):
    """After a restart the same client samples again, in a new session, and new clients can be made."""
    with contextlib.closing(Restartable(like)) as server, sampling(server) as client:
        assert client.sample(PROMPT, PARAMS).result(10)
        server.restart()
        assert client.sample(PROMPT, PARAMS).result(10)
        server.restart()
        other = client.service.create_sampling_client(base_model=MODEL)
        assert [each.sample(PROMPT, PARAMS).result(10) for each in (other, client)]
        assert client.service.health().ok
        assert server.counts["create_session"] == 1


def test_a_crowd_goes_on_together(server):
    """Many samples that meet the restart begin one session and one sampling session, and none is submitted twice."""
    with sampling(server) as client:
        server.restart()
        futures = [client.sample([number], PARAMS) for number in range(1, 51)]
        all_done(futures)
        assert all(future.exception() is None for future in futures)
        assert (server.counts["create_session"], server.counts["create_sampling_session"]) == (1, 2)
        accepted = [request for request in server.requests_to("asample") if request.status == 200]
        assert len(accepted) == 50


def test_what_may_have_run_is_not_sent_twice(server):
    """Samples that were accepted before the restart fail and say so; those that were not are sampled.

    Also where the new server has given the numbers of the requests to others, and answers with their results.
    """
    server.hold()
    with sampling(server, max_in_flight=5) as client:
        futures = [client.sample([number], PARAMS) for number in range(1, 11)]
        server.wait_for("retrieve_future", 5)
        server.restart()
        all_done(futures)
        errors = [future.exception() for future in futures]
        assert [error is None for error in errors] == [False] * 5 + [True] * 5
        assert all("what it had computed is lost" in str(error) and error.may_have_run for error in errors[:5])
        assert sorted(sent(server)) == [6, 7, 8, 9, 10]


def test_no_sample_gets_the_result_of_another():
    """Where a restarted server gives the numbers of requests anew, no sample ends in what others sampled under them."""
    with contextlib.closing(Restartable("skyrl")) as server, sampling(server) as client:
        server.hold()
        futures = [client.sample([number], PARAMS) for number in range(1, 25)]
        server.wait_for("retrieve_future", 24)
        server.restart()
        with sampling(server) as other:
            all_done([other.sample([1000 + number], PARAMS) for number in range(40)])
        all_done(futures)
        assert all(future.exception().may_have_run for future in futures)
        assert client.sample([1], PARAMS).result(10)


def sent(server):
    """The first token of each prompt that was accepted."""
    accepted = [request for request in server.requests_to("asample") if request.status == 200]
    return [request.json["prompt"]["chunks"][0]["tokens"][0] for request in accepted]


def test_the_heartbeat_finds_out(server, caplog):
    """A heartbeat that meets no session says so in health and log; the next begins one, and all is well again."""
    clock = ManualClock()
    caplog.set_level(logging.INFO, "tinkex")
    with sampling(server, clock=clock) as client:
        server.restart()
        server.fail_next("create_session", 503, times=2)
        advance_until(clock, lambda: not client.service.health().ok, step=1.0)
        assert clock.monotonic() <= 12.0
        assert (client.service.health().state, server.counts["create_session"]) == ("ended", 0)
        assert "forgotten the session" in client.service.health().reason
        advance_until(clock, lambda: client.service.health().ok, step=1.0)
        assert server.counts["create_session"] == 3
        beats = server.counts["session_heartbeat"]
        advance_until(clock, lambda: server.counts["session_heartbeat"] == beats + 3, step=5.0)
        assert client.service.health().ok
        said = [record.getMessage() for record in caplog.records if "forgotten" in record.getMessage()]
        assert said == ["The server has forgotten session session-1, perhaps in a restart."]


@pytest.mark.parametrize("words", [{"detail": "Not Found"}, "404: Not Found"])
def test_a_server_without_heartbeats(server, words):
    """A 404 for want of such a path is no word on the session, which goes on."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.fail_next("session_heartbeat", 404, words, times=None)
        advance_until(clock, lambda: server.counts["session_heartbeat"] >= 3, step=2.0)
        assert client.service.health().ok
        assert server.counts["create_session"] == 1


def test_a_server_whose_heartbeats_break(server):
    """Where the heartbeat of an unknown session is a 500, the words of the 404 to a new client tell."""
    with sampling(server) as client:
        server.restart()
        server.fail_next("session_heartbeat", 500, times=None)
        assert client.sample(PROMPT, PARAMS).result(10)
        assert (server.counts["create_session"], server.counts["session_heartbeat"]) == (1, 0)


@pytest.mark.parametrize("words", ["Session not found", "No such id"])
def test_words_that_do_not_name_the_session(server, words):
    """Where the words of the 404 do not name it, a heartbeat tells whether it is the session or the model."""
    with sampling(server) as client:
        server.restart()
        server.fail_next("create_sampling_session", 404, {"detail": words})
        assert client.sample(PROMPT, PARAMS).result(10)
        assert (server.counts["create_session"], server.counts["session_heartbeat"]) == (1, 1)


def test_a_model_that_does_not_exist():
    """Where it is the model that the server does not know, no session is begun for it."""
    with FakeServer(models=[MODEL]) as server, make_service(server) as service:
        with pytest.raises(NotFoundError, match="another/model"):
            service.create_sampling_client(base_model="another/model")
        assert (server.counts["create_session"], server.counts["create_sampling_session"]) == (1, 1)


def test_a_session_of_somebody_else(server):
    """A client of a bare id cannot be renewed: its error says what to do."""
    with sampling(server) as maker, sampling(server, sampling_session_id=maker.sampling_session_id) as client:
        assert client.sample(PROMPT, PARAMS).result(10)
        server.restart()
        error = client.sample(PROMPT, PARAMS).exception(10)
        assert isinstance(error, NotFoundError)
        assert "make a new sampling client" in str(error)
        assert not error.may_have_run


@pytest.mark.parametrize(("base_model", "path"), [(MODEL, None), (None, PATH), (MODEL, PATH)])
def test_a_renewed_client_is_of_the_same_model(server, base_model, path):
    """It asks for what it was created with, also in a copy, and also once it has been told its base model."""
    with make_service(server) as service:
        client = service.create_sampling_client(base_model=base_model, model_path=path)
        assert client.get_base_model()
        copy = pickle.loads(pickle.dumps(client))
        server.restart()
        for each in (client, copy):
            assert each.sample(PROMPT, PARAMS).result(10)
            asked = server.requests_to("create_sampling_session")[-1].json
            assert (asked.get("base_model"), asked.get("model_path")) == (base_model, path)


def test_a_copy_that_has_not_sampled_yet(monkeypatch):
    """A copy that would join a sampling session which is gone makes one of its own."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    flags = {"sample_join_sampling_session": True}
    with contextlib.closing(Restartable(client_config=flags, strict=True)) as server, make_service(server) as service:
        copy = pickle.loads(pickle.dumps(service.create_sampling_client(base_model=MODEL)))
        server.restart()
        assert copy.sample(PROMPT, PARAMS).result(10)
        assert server.counts["join_sampling_session"] == 1
        assert not server.violations


def test_copies_of_a_renewed_client(server, monkeypatch):
    """A handle or pickle of a renewed client names the sampling session that the server knows."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    with make_service(server) as service:
        service.create_sampling_client(base_model=MODEL)
        client = service.create_sampling_client(base_model=MODEL)
        server.restart()
        assert client.sample(PROMPT, PARAMS).result(10)
        created = server.counts["create_sampling_session"]
        for copy in (tinkex.SamplingClient.from_handle(client.handle()), pickle.loads(pickle.dumps(client))):
            assert copy.sampling_session_id == client.sampling_session_id
            assert copy.sample(PROMPT, PARAMS).result(10)
        assert server.counts["create_sampling_session"] == created


def test_renewals_that_lead_nowhere_are_few(server):
    """Where the renewed sampling session is unknown, too, samples fail at once, and one in a minute tries again."""
    clock = ManualClock()
    with sampling(server, clock=clock) as client:
        server.fail_next("asample", 404, {"detail": "no such sampler"}, times=None)
        for renewals in (1, 1, 2):
            before = client.sampling_session_id
            errors = [future.exception(10) for future in [client.sample([n], PARAMS) for n in range(1, 21)]]
            assert all(isinstance(error, NotFoundError) and "no such sampler" in str(error) for error in errors)
            assert server.counts["create_sampling_session"] == 1 + renewals
            clock.advance(40.0)
        assert client.sampling_session_id != before


def test_a_batch_goes_on(server, tmp_path):
    """A batch that meets a restart loses at most the rows in flight, and the next run has these."""
    rows = [{"id": number, "prompt": [number]} for number in range(1, 81)]
    limits = bulk.Limits(max_in_flight=8)
    server.latency = 0.005
    restart = concurrent.futures.Future()

    def progress(now):
        if now.done > 20 and not restart.done():
            server.restart()
            restart.set_result(None)

    with make_service(server) as service:
        client = service.create_sampling_client(base_model=MODEL)
        output = tmp_path / "out.jsonl"
        summary = bulk.run(rows, output, client, limits=limits, max_tokens=4, on_progress=progress, omit=["text"])
        assert restart.done()
        assert summary.done + summary.failed == 80
        assert summary.failed <= 8
        assert bulk.run(rows, output, client, limits=limits, max_tokens=4, omit=["text"]).done == summary.failed
        assert len({row.id for row in bulk.read(output) if row.ok}) == 80
