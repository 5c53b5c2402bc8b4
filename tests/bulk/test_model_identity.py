"""By what the results of a run are told apart: the model as the caller named it, never a guess."""

from __future__ import annotations

import json
import pickle

import pytest

import tinkex
from tinkex import bulk, testing

A, B = "tinker://run/sampler_weights/A", "tinker://run/sampler_weights/B"
ROWS = [{"id": number, "prompt": [number + 1, 2, 3]} for number in range(3)]


@pytest.fixture(params=["default", "hatchery", "open_rl"])
def server(request):
    """Servers that tell what a sampler is of, that do not, and that give all samplers one id."""
    with testing.FakeServer() if request.param == "default" else testing.FakeServer(request.param) as running:
        yield running


@pytest.fixture
def once(tmp_path):
    """Runs the rows once, through a client that `change` may replace; returns how many were done and skipped."""

    def run(server, change=lambda client: client, **model):
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
            client = change(service.create_sampling_client(**model))
            summary = bulk.run(ROWS, tmp_path / "out.jsonl", client, max_tokens=2, omit=["text"])
        return summary.done, summary.skipped

    return run


def pickled(client):
    """The client, through a pickle."""
    return pickle.loads(pickle.dumps(client))


def handed_over(client):
    """The client, through a handle."""
    return tinkex.SamplingClient.from_handle(client.handle(), api_key="tml-test")


@pytest.mark.thin(4)
@pytest.mark.parametrize("change", [lambda client: client, pickled, handed_over])
def test_weights_are_told_apart(server, once, change, tmp_path):
    """A second run of the same weights samples nothing, other weights are sampled, on every kind of server."""
    assert once(server, change, model_path=A) == (3, 0)
    assert once(server, change, model_path=A) == (0, 3)
    assert once(server, change, model_path=B) == (3, 0)
    assert once(server, change, model_path=B) == (0, 3)
    models = [json.loads(line)["model"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(models) == [A] * 3 + [B] * 3
    assert not [request for request in server.requests if "samplers" in request.path], "the server was not asked"


def test_base_model_and_weights_together(once, tmp_path):
    """A client made with both goes by both, and neither its base model nor its name is asked for."""
    with testing.FakeServer() as server:
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
            client = service.create_sampling_client(base_model="some/model", model_path=A)
            assert client.get_base_model() == "some/model"
            assert client.get_model_name() == f"some/model+{A}"
        sent = server.requests_to("create_sampling_session")[-1].json
        assert (sent["base_model"], sent["model_path"]) == ("some/model", A)
        assert once(server, base_model="some/model", model_path=A) == (3, 0)
        assert once(server, base_model="other/model", model_path=A) == (3, 0)
        assert not server.requests_to("samplers")


def test_a_session_id_is_asked_for():
    """What a bare session id samples from only the server knows; it is told apart by what the server says."""
    with testing.FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
        made = service.create_sampling_client(model_path=A)
        for base_model in (None, "some/model"):
            client = service.create_sampling_client(sampling_session_id=made.sampling_session_id, base_model=base_model)
            assert bulk.Models.of(client).names == (A,)


@pytest.mark.parametrize("status", [404, 403])
def test_a_question_that_fails_is_an_error(once, tmp_path, status):
    """Where the server does not tell, the run ends before anything is sampled, and says how to name the client."""
    with testing.FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
        made = service.create_sampling_client(model_path=A)
        client = service.create_sampling_client(sampling_session_id=made.sampling_session_id)
        server.fail_next("samplers", status=status, times=50)
        with pytest.raises(tinkex.TinkexError, match=r"Give it a name: models=\{'some name': client\}"):
            bulk.run(ROWS, tmp_path / "out.jsonl", client, max_tokens=2, omit=["text"])
        assert not server.counts["asample"]
        assert not (tmp_path / "out.jsonl").exists()
        summary = bulk.run(ROWS, tmp_path / "out.jsonl", {"mine": client}, max_tokens=2, omit=["text"])
        assert summary.done == 3


@pytest.mark.parametrize("models", ["org/model", None, ["org/model"]])
def test_what_is_no_client(models, tmp_path):
    """A model's name is no client, and is told so before anything is read."""
    with pytest.raises(TypeError, match=r"^models must be a sampling client, or several by name, not "):
        bulk.run("prompts.jsonl", tmp_path / "out.jsonl", models, max_tokens=4)
