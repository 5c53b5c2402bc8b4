#!/usr/bin/env bash
# hatchery draws what has no seed onwards from the seed of the request before it, also that of another client: answers that
# asked for no seed come out as copies of each other. It matters to those who draw many answers while others on the server
# evaluate with one seed for every question. If a request with a seed had a generator of its own, the others would be as
# different as they are without it.
# Exits with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install --quiet --disable-pip-version-check)
"${pip[@]}" --no-deps --retries 0 --find-links https://download.pytorch.org/whl/cpu/torch/ "torch==2.13.0" # without CUDA
"${pip[@]}" "transformers==5.24.0" "peft==0.21.2" "fastapi==0.165.0" "uvicorn==0.54.0" "msgpack==1.2.4" "aiosqlite==0.22.1" \
    "structlog==26.1.0" "httpx==0.28.1"
"${pip[@]}" --no-deps --ignore-requires-python "hatchery-core==0.3.0" "hatchery-client==0.2.0" # 3.11 will do
cat > "$folder/sample.py" <<'PYTHON'
import asyncio
import json
import os
import socket
import sys
import urllib.request

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", OMP_NUM_THREADS="1")

from importlib.metadata import version

import torch
import transformers
import uvicorn
from hatchery.core import local_dev
from hatchery.core.gateway import create_app, set_config
from hatchery.core.worker import GPUWorker
from tokenizers import Tokenizer, models

FOLDER = sys.argv[1]
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    PORT = probe.getsockname()[1]


def make_model():
    """A random model of sixteen tokens."""
    words = ["<end>", "<pad>", *"abcdefghijklmn"]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="a"))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>"
    ).save_pretrained(FOLDER)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=16, n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(FOLDER)


def ask(path, **body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/api/v1/{path}", json.dumps(body).encode(),
        {"Content-Type": "application/json", "X-API-Key": "tml-any", "Accept-Encoding": "identity"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def result_of(promise):
    while "request_id" in promise:
        answer = ask("retrieve_future", request_id=promise["request_id"])
        if answer.get("type") != "try_again" and answer.get("status") != "pending":
            return answer
    return promise


class Sampler:
    """One sampling session; each user has one."""

    def __init__(self):
        session = ask("create_session", tags=[], user_metadata={}, sdk_version="0.38.0")["session_id"]
        made = ask("create_sampling_session", session_id=session, sampling_session_seq_id=0, base_model=FOLDER)
        self.id, self.number = result_of(made)["sampling_session_id"], 0

    def sample(self, **params):
        """Eight tokens at temperature 0.9, for any sampling parameters besides."""
        self.number += 1
        prompt = {"chunks": [{"type": "encoded_text", "tokens": [3, 4, 5]}]}
        promise = ask("asample", sampling_session_id=self.id, seq_id=self.number, num_samples=1, prompt=prompt,
                      sampling_params={"max_tokens": 8, "temperature": 0.9, **params})
        return tuple(result_of(promise)["sequences"][0]["tokens"])


def sample():
    one, other = Sampler(), Sampler()
    alone = [other.sample() for _ in range(12)]
    beside = []
    for _ in range(12):
        one.sample(seed=1)
        beside.append(other.sample())
    return alone, beside


async def main():
    config = local_dev._build_config("tml-any")
    set_config(config)
    app = create_app(config=config)
    await config.metadata.initialize()
    await config.queue.initialize()
    worker = GPUWorker(worker_id="cpu", base_model_name=FOLDER, config=config, device="cpu")
    await worker.register()

    async def work():
        while True:
            job = await config.queue.dequeue(worker_id="cpu", model_filter=FOLDER, visibility_timeout=300)
            await (asyncio.sleep(0.01) if job is None else worker._process_one(job))

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=PORT, log_level="error", lifespan="off"))
    tasks = [asyncio.create_task(work()), asyncio.create_task(server.serve())]
    while not server.started:
        await asyncio.sleep(0.05)
    found = await asyncio.to_thread(sample)
    for task in tasks:
        task.cancel()
    return found


make_model()
alone, beside = asyncio.run(main())
print("hatchery-core", version("hatchery-core"), "transformers", transformers.__version__)
print("12 answers without a seed:", len(set(alone)), "different ones")
print("12 more, each behind a request of another client with seed 1:", len(set(beside)), "different, such as", beside[0])
found = len(set(alone)) > 6 and len(set(beside)) == 1
print("as found" if found else "changed")
sys.stdout.flush()
os._exit(not found)
PYTHON
"$folder/venv/bin/python" "$folder/sample.py" "$folder/model" 2> /dev/null | grep -v '\[info'
