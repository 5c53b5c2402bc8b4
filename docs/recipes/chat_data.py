"""Make a chat data set of prompts: ``python chat_data.py prompts.jsonl chats.jsonl``, on the small local model.

Each line in has a ``prompt``; each line out has ``messages``, of which the last is the answer, as trainers read them.
"""

import json
import pathlib
import sys

import tinkex
from tinkex import bulk

SYSTEM = {"role": "system", "content": "Answer in one sentence."}

source, target = map(pathlib.Path, sys.argv[1:])
answers = target.with_suffix(".answers.jsonl")  # a run that is stopped goes on from here
prompts = [json.loads(line)["prompt"] for line in source.read_bytes().splitlines()]
rows = [{"id": text, "messages": [SYSTEM, {"role": "user", "content": text}]} for text in dict.fromkeys(prompts)]
with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    bulk.run(rows, answers, client, max_tokens=64, temperature=0.3)
whole = [row for row in bulk.read(answers) if row.ok and row.sequences[0].stop_reason == "stop"]
chats = [{"messages": [*(row.messages or ()), row.sequences[0].message]} for row in whole]
target.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
print(f"{len(chats)} conversations of {len(prompts)} prompts; those that were cut off are left out")
