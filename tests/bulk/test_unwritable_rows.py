from __future__ import annotations

import json

import pytest

import tinkex
from tinkex import bulk
from tinkex.testing import FakeServer

LOOP: dict[str, object] = {}
LOOP["me"] = LOOP


@pytest.mark.parametrize("column", [{"span": {(0, 5): "PER"}}, {"meta": LOOP}])
def test_neighbours_are_written(column, tmp_path):
    """A row whose own columns cannot be written costs no other row its result, and is itself an error row."""
    rows = [*({"id": number, "prompt": [1, number + 1]} for number in range(20)), {"id": "x", "prompt": [1], **column}]
    with FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        client = service.create_sampling_client(base_model="any/model")
        summary = bulk.run(rows, tmp_path / "out.jsonl", client, max_tokens=1, omit=["text"])
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [(row["id"], row["status"]) for row in written] == [*((n, "ok") for n in range(20)), ("x", "error")]
    assert (summary.done, summary.failed) == (20, 1)
    assert "cannot be read" in summary.errors[0][0]
