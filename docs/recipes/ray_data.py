"""Samples as a step of a Ray Data pipeline."""

from __future__ import annotations

import json

import ray.data

import tinkex
import tinkex.ray
from tinkex.testing import FakeServer

if __name__ == "__main__":
    tinkex.ray.start()  # or ray.init(...), as you always do
    prompts = ray.data.from_items([{"prompt": [number], "label": number} for number in range(1, 101)])
    with FakeServer() as server, tinkex.ServiceClient.direct(server.url) as service:  # or: tinkex.ServiceClient()
        client = service.create_sampling_client(base_model="Qwen/Qwen3-8B")
        answers = tinkex.ray.map_batches(prompts, client, actors=2, omit=["text"], max_tokens=4)
        for row in answers.sort("label").iter_rows():
            if row["status"] == "ok":
                print(*json.loads(row["record"])["sequences"][0]["tokens"])
            else:
                print(row["label"], row["error"])
