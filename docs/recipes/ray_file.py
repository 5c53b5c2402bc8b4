"""A file of prompts on a Ray cluster; run again, it goes on where it stopped."""

from __future__ import annotations

import tinkex
from tinkex import bulk
from tinkex.ray import RayEngine
from tinkex.testing import FakeServer

if __name__ == "__main__":
    rows = [{"id": f"row-{number}", "prompt": [number]} for number in range(1, 101)]
    with FakeServer() as server, tinkex.ServiceClient.direct(server.url) as service:  # or: tinkex.ServiceClient()
        client = service.create_sampling_client(base_model="Qwen/Qwen3-8B")
        summary = bulk.run(
            rows,
            "answers.jsonl",
            client,
            engine=RayEngine(actors=2),
            limits=bulk.Limits(max_in_flight=200, requests_per_minute=60_000),
            omit=["text"],
            max_tokens=4,
        )
    print(summary.done, "done,", summary.failed, "failed,", summary.skipped, "there already")
