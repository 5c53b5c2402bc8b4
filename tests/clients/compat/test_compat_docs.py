"""The programs of docs/compat.rst run as they stand."""

from __future__ import annotations

import pathlib
import re
import textwrap

import pytest
from environments import running_skyrl
from serving import KEY

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]  # the first run installs a server

tinker = pytest.importorskip("tinker")

import tinkex.compat  # noqa: E402

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "compat.rst"


def program(word):
    """The only program of the page with a word in it."""
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text(encoding="utf-8"))
    (found,) = (textwrap.dedent(block) for block in blocks if word in block)
    return found


def test_single_clients(server, monkeypatch, capsys):
    """The program with a client of its own prints the tokens of two sequences."""
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    exec(program("asyncio.run"), {})
    assert capsys.readouterr().out.count("[") == 3


def test_a_training_loop(monkeypatch):
    """The training loop runs on a real server: the SDK trains and saves, and tinkex samples from what it saved."""
    sampled = []
    sample = tinkex.compat.SamplingClient.sample
    monkeypatch.setattr(
        tinkex.compat.SamplingClient, "sample", lambda self, *given: sampled.append(self) or sample(self, *given)
    )
    with running_skyrl("0.4.0", training=True) as skyrl:
        monkeypatch.setenv("TINKER_BASE_URL", skyrl.url)
        monkeypatch.setenv("TINKER_API_KEY", "tml-any")
        names = {}
        try:
            loop = program("create_lora_training_client").replace("Qwen/Qwen3-8B", skyrl.model)
            exec(loop.replace("rank=8", "rank=4"), names)  # the most that this server is started for
        finally:
            tinkex.compat.uninstall()
    assert len(set(sampled)) == 2
    assert [len(sequence.tokens) for sequence in names["response"].sequences] == [4] * 4
    assert all(isinstance(sequence.sequence_id, str) for sequence in names["response"].sequences)
