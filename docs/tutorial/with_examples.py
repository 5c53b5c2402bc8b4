"""Ask the questions of questions.jsonl again, each after two examples, and compare."""

import json
import pathlib

import tinkex
from tinkex import bulk

EXAMPLES = """Question: What colour is grass?
Answer: green

Question: Which animal barks?
Answer: a dog

"""

rows = [json.loads(line) for line in pathlib.Path("questions.jsonl").read_text().splitlines()]
for row in rows:
    row["prompt"] = EXAMPLES + row["prompt"]

with tinkex.ServiceClient.local() as service:  # the hosted service: tinkex.ServiceClient()
    client = service.create_sampling_client(base_model=service.local_model)  # and: base_model="Qwen/Qwen3-8B"
    bulk.run(rows, "with_examples.jsonl", client)

for name in ("scores.jsonl", "with_examples.jsonl"):
    print(name, bulk.read(name).accuracy())
    print("  wrong:", *(row.id for row in bulk.read(name) if not row.correct))
