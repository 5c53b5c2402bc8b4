"""Pickles made before the package was laid out anew."""

from __future__ import annotations

import base64
import json
import pathlib
import pickle
import subprocess
import sys

import pytest

import tinkex
from tinkex import sampling_client
from tinkex._service.handle import Handle

PICKLES = json.loads((pathlib.Path(__file__).parent / "pickles_of_0.1.0.json").read_text())


def loaded(name):
    """What a pickle of that name holds."""
    return pickle.loads(base64.b64decode(PICKLES[name]))


@pytest.mark.parametrize("name", sorted({*PICKLES} - {"client", "client2"}))
def test_old_pickles_load(name):
    """What an earlier version pickled loads in this one, and equals itself pickled anew."""
    value = loaded(name)
    assert repr(pickle.loads(pickle.dumps(value))) == repr(value)


def test_old_results_hold_their_numbers():
    """The numbers of a result are those that were pickled."""
    response = loaded("response")
    assert isinstance(response, tinkex.SampleResponse)
    assert (len(response.sequences[0].tokens), response.prompt_logprobs[0]) == (3, None)
    assert (loaded("tensor").data, loaded("tensor").shape) == ([1.0], (1,))


def test_old_pickles_load_first():
    """They load in an interpreter that has imported nothing of tinkex, as a worker process does."""
    script = "import base64, json, pickle, sys; [pickle.loads(base64.b64decode(text)) for text in json.load(sys.stdin)]"
    texts = json.dumps([PICKLES[name] for name in ("response", "health", "tensor", "errors")])
    subprocess.run([sys.executable, "-c", script], check=True, input=texts, text=True)


@pytest.mark.parametrize(("name", "session"), [("client", "session-1:sampler:2"), ("client2", "session-1:sampler:3")])
def test_old_clients_load(name, session, monkeypatch):
    """A client that an earlier version pickled names the same server and session."""
    monkeypatch.setattr(sampling_client, "_rebuilt", lambda config, identity, retry: (config, identity))
    config, identity = loaded(name)
    assert (identity.base_url, identity.sampling_session_id) == (config.base_url, session)


def test_old_handles_load():
    """So does one that it wrote as a handle."""
    assert Handle.decode(loaded("handle")).sampling_session_id == "session-1:sampler:2"
