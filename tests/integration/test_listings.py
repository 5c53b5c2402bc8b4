"""The reads of a service client, over the wire."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from serving import KEY, MODEL, make_service

from tinkex import APIResponseError, BadRequestError, MissingFeatureError, NotFoundError, TinkexError
from tinkex.testing import FakeServer
from tinkex.types import Checkpoint, TrainingRun, WeightsInfo


@pytest.fixture
def server():
    """A strict server that wants its key."""
    with FakeServer(strict=True, models=[MODEL], require_key=KEY) as fake:
        yield fake
        assert not fake.violations


@pytest.fixture
def service(server):
    """A service of it."""
    with make_service(server) as made:
        yield made


def queries(server, endpoint):
    """What was asked of an endpoint."""
    return [request.path.partition("?")[2] for request in server.requests_to(endpoint)]


def test_training_runs(service, server):
    """Runs come typed, a page at a time, with what narrows the list in every request."""
    server.training_runs[:] = [TrainingRun(training_run_id=f"r{number}", base_model=MODEL) for number in range(5)]
    listing = service.list_training_runs(access_scope="accessible", project_id="p 1", page_size=2)
    assert server.counts["training_runs"] == 0
    assert list(listing) == server.training_runs
    assert listing.total == 5
    assert queries(server, "training_runs") == [
        f"limit=2&offset={offset}&access_scope=accessible&project_id=p+1" for offset in (0, 2, 4)
    ]


def test_checkpoints(service, server):
    """All checkpoints, or those of one run, whose id is sent as one piece of the path."""
    assert list(service.list_checkpoints()) == server.checkpoints
    run = server.training_runs[1]
    found = list(service.list_checkpoints(run.training_run_id))
    assert found == [each for each in server.checkpoints if run.training_run_id in each.tinker_path]
    assert len(found) == 4
    (request,) = server.requests_to("run_checkpoints")
    assert "%3Atrain%3A0/checkpoints?" in request.path


def test_only_what_is_read_is_asked_for(service, server):
    """Taking three items of many takes one page."""
    path = "tinker://r/weights/1"
    server.checkpoints[:] = [Checkpoint(tinker_path=path, checkpoint_id=str(number)) for number in range(500)]
    assert len(list(itertools.islice(service.list_checkpoints(page_size=10), 3))) == 3
    assert queries(server, "checkpoints") == ["limit=10&offset=0"]


def test_training_run(service, server):
    """One run, by its id."""
    run = server.training_runs[0]
    assert service.get_training_run(run.training_run_id) == run


def test_sampler_and_session(service):
    """A sampling session tells what it samples from, and its session tells of it."""
    path = "tinker://run/sampler_weights/1"
    client = service.create_sampling_client(model_path=path)
    sampler = service.get_sampler(client.sampling_session_id)
    assert (sampler.sampler_id, sampler.model_path) == (client.sampling_session_id, path)
    (session_id,) = service.list_sessions()
    assert service.get_session(session_id).sampler_ids == (client.sampling_session_id,)


def test_weights_info(service, server):
    """Saved weights tell what they are."""
    info = service.weights_info(server.checkpoints[0].tinker_path)
    assert info == WeightsInfo(
        base_model=MODEL, is_lora=True, lora_rank=32, train_unembed=True, train_mlp=True, train_attn=True
    )


def test_weights_of_which_the_server_says_nothing(service, server):
    """Where a path to sample from is refused, the training run tells base model and rank; without one, the refusal."""
    server.fail_next("weights_info", 400, {"detail": "not a training checkpoint"}, times=2)
    run = server.training_runs[0]
    info = service.weights_info(f"tinker://{run.training_run_id}/sampler_weights/1")
    assert info == WeightsInfo(base_model=MODEL, is_lora=True, lora_rank=32)
    with pytest.raises(BadRequestError, match="not a training checkpoint"):
        service.weights_info("tinker://no/sampler_weights/1")


@pytest.mark.parametrize(
    "read",
    [
        lambda service: service.get_training_run("no/such?run#"),
        lambda service: service.get_sampler("none"),
        lambda service: service.get_session("none"),
        lambda service: service.weights_info("tinker://no/such/weights"),
        lambda service: next(service.list_checkpoints("none")),
    ],
)
def test_unknown_ids(service, read):
    """What the server does not know is a NotFoundError."""
    with pytest.raises(NotFoundError):
        read(service)


@pytest.mark.parametrize("name", ["list_training_runs", "list_checkpoints", "list_sessions"])
def test_a_server_that_keeps_no_lists(name):
    """A server without the endpoint is told from one where nothing is found, once the list is read."""
    with FakeServer("open_rl") as server, make_service(server) as service:
        listing = getattr(service, name)()
        with pytest.raises(MissingFeatureError, match=r"keeps no list of .*404"):
            next(listing)


def test_a_failure_between_pages(service, server):
    """A page that fails for good raises there; what came before is kept, and the list can be gone on with."""
    server.fail_next("checkpoints", status=403, body={"detail": "not now"}, skip=1)
    listing = service.list_checkpoints(page_size=3)
    got = [next(listing) for _ in range(3)]
    with pytest.raises(TinkexError, match="not now"):
        next(listing)
    assert [*got, *listing] == server.checkpoints


def test_a_failure_that_passes_is_repeated(service, server):
    """Reads are retried as everything else is."""
    server.fail_next("checkpoints", status=503)
    assert list(service.list_checkpoints()) == server.checkpoints


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'{"checkpoints": 7}', b'{"checkpoints": {"a": 1}}', b"\xff", b"<html>", b"[" * 100_000],
)
def test_hostile_answers(service, server, body):
    """An answer that is no list is an error of ours."""
    server.fail_next("checkpoints", status=200, body=body)
    with pytest.raises(APIResponseError):
        list(service.list_checkpoints())


@pytest.mark.thin(2)
@pytest.mark.parametrize("kind", ["garbage", "not_http", "bad_gzip", "truncated", "endless", "gzip_bomb", "wrong_type"])
def test_broken_transfers(server, kind):
    """A broken transfer ends in a result or in an error of ours."""
    server.fault("weights_info", kind, times=None)
    with make_service(server, max_response_bytes=2**16, request_timeout=0.1) as service, suppress(TinkexError):
        assert service.weights_info(server.checkpoints[0].tinker_path, timeout=0.3) is not None


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda s: s.list_training_runs(access_scope="mine"), ValueError, "access_scope"),
        (lambda s: s.list_training_runs(page_size=0), ValueError, "page_size"),
        (lambda s: s.list_training_runs(page_size=1.5), TypeError, "page_size"),
        (lambda s: s.list_checkpoints(offset=-1), ValueError, "offset"),
        (lambda s: s.list_checkpoints(""), ValueError, "training_run_id"),
        (lambda s: s.list_checkpoints(".."), ValueError, "training_run_id"),
        (lambda s: s.list_sessions(timeout=0), ValueError, "timeout"),
        (lambda s: s.get_training_run(7), TypeError, "training_run_id"),
        (lambda s: s.get_session(" "), ValueError, "session_id"),
        (lambda s: s.get_session("a\ud800"), ValueError, "session_id"),
        (lambda s: s.get_sampler(None), TypeError, "sampler_id"),
        (lambda s: s.weights_info("/tmp/weights"), ValueError, "tinker://"),
    ],
)
def test_wrong_arguments(service, server, call, kind, words):
    """A wrong argument raises in the call itself, names itself, and nothing is sent."""
    with pytest.raises(kind, match=words):
        call(service)
    assert not server.requests
