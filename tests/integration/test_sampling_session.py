"""Sequence numbers: unique within a sampling session, whoever samples from it."""

from __future__ import annotations

import pytest
from serving import MODEL, PARAMS, PROMPT, all_done, make_service, sampling

import tinkex
from tinkex.testing import FakeServer

BLOCK = 1_000_000_000


@pytest.fixture
def server():
    """A strict server, which notes numbers that are used twice."""
    with FakeServer(strict=True, client_config={"sample_join_sampling_session": True}) as fake:
        yield fake
        assert not fake.violations


def numbers(server):
    """Every number that was submitted."""
    return [request.json["seq_id"] for request in server.requests_to("asample")]


def test_the_maker_counts_from_zero(server):
    """The client that made the sampling session is clone 0, and never asks to join."""
    with sampling(server) as client:
        all_done([client.sample([n + 1], PARAMS) for n in range(50)])
    assert sorted(numbers(server)) == list(range(50))
    assert server.counts["join_sampling_session"] == 0


def test_clones_are_numbered_by_the_server(server):
    """Where the server numbers clones, each asks once, before its first sample, and has a block of its own."""
    with sampling(server) as first, make_service(server) as service:
        clones = [service.create_sampling_client(sampling_session_id=first.sampling_session_id) for _ in range(2)]
        assert server.counts["join_sampling_session"] == 0
        for clone in clones:
            all_done([clone.sample([n + 1], PARAMS) for n in range(10)])
    assert server.counts["join_sampling_session"] == 2
    assert sorted(numbers(server)) == [*range(BLOCK, BLOCK + 10), *range(2 * BLOCK, 2 * BLOCK + 10)]


def test_clones_draw_a_number_otherwise():
    """Where the server does not, a clone draws its block by chance."""
    with FakeServer(strict=True) as fake, sampling(fake) as first, make_service(fake) as service:
        clone = service.create_sampling_client(sampling_session_id=first.sampling_session_id)
        all_done([clone.sample([n + 1], PARAMS) for n in range(3)])
        clones = {number // BLOCK for number in numbers(fake)}
        assert len(clones) == 1
        assert 1 <= clones.pop() <= BLOCK
        assert sorted(number % BLOCK for number in numbers(fake)) == [0, 1, 2]


@pytest.mark.parametrize("body", [{}, {"client_counter": True}, {"client_counter": "1"}, {"client_counter": 0}])
def test_join_without_a_number(server, body):
    """An answer without a number is an error; the next sample asks again, and the place in flight is free."""
    with sampling(server) as first, make_service(server) as service:
        clone = service.create_sampling_client(sampling_session_id=first.sampling_session_id)
        server.fail_next("join_sampling_session", 200, body)
        with pytest.raises(tinkex.APIResponseError, match="client_counter"):
            clone.sample(PROMPT, PARAMS).result(5)
        assert clone.sample(PROMPT, PARAMS).result(5)
        assert service.stats().in_flight == 0


def test_models_do_not_share_numbers(server):
    """Every sampling session counts for itself."""
    with make_service(server) as service:
        for _ in range(2):
            service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS).result(5)
    assert numbers(server) == [0, 0]
