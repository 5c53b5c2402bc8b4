"""Score multiple-choice questions: ``python choices.py questions.jsonl``, on the small local model.

Each line has a ``question``, its ``choices`` and the index of the right ``answer``.
"""

import json
import pathlib
import sys

import tinkex

rows = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_bytes().splitlines()]
items = [{"prompt": f"Q: {row['question']}\nA:", "choices": [f" {each}" for each in row["choices"]]} for row in rows]
with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model="HuggingFaceTB/SmolLM2-135M-Instruct")
    scores = list(client.sample_many(items, call=client.score))
for by in ("best", "best_by_mean", "best_by_byte"):
    right = sum(getattr(score, by) == row["answer"] for score, row in zip(scores, rows, strict=True))
    print(f"{by}: {right} of {len(rows)} right")
