"""Servers around the gateway, for `gateway.py`: each prints its URL, and serves until it is killed.

python gateway_servers.py bare URL            # an aiohttp handler that makes one sample
python gateway_servers.py openai FILE SECONDS # an OpenAI server that answers FILE's bodies, by path, after a while
python gateway_servers.py tokenizer DIR       # no server: writes a tokenizer, made from the documentation
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VOCABULARY = 8000
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def bare(url: str) -> None:
    """The least that a gateway can be: JSON in, one sample, JSON out."""
    from aiohttp import web

    import tinkex

    service = tinkex.ServiceClient(base_url=url, api_key="tml-benchmark")
    client = service.create_sampling_client(base_model="bench/model")

    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        params = tinkex.SamplingParams(max_tokens=body["max_tokens"])
        future = client.sample(tinkex.ModelInput.from_ints(body["prompt"]), params)
        sequence = (await asyncio.wrap_future(future)).sequences[0]
        return web.json_response({"tokens": list(sequence.tokens), "logprobs": list(sequence.logprobs)})

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/completions", handler)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


class Prepared(asyncio.Protocol):
    """A connection of the OpenAI server: the body of a path, so many seconds after the request."""

    def __init__(self, bodies: dict[bytes, bytes], seconds: float) -> None:
        self.bodies = bodies
        self.seconds = seconds
        self.received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and len(body) >= (int(length[1]) if length else 0):
            self.received = b""
            answer = self.bodies[head.split(b" ", 2)[1]]
            asyncio.get_running_loop().call_later(self.seconds, self.transport.write, answer)


def openai(file: str, seconds: str) -> None:
    """Answer every request with what a file has for its path."""
    from answers import http_answer

    bodies = {path.encode(): http_answer(body.encode()) for path, body in json.loads(Path(file).read_text()).items()}

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Prepared(bodies, float(seconds)), "127.0.0.1", 0, backlog=4096)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


def tokenizer(folder: str) -> None:
    """Write a byte-level tokenizer with ChatML's template."""
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train(sorted(map(str, [*CHECKOUT.glob("docs/*.rst"), *CHECKOUT.glob("tinkex/**/*.py")])), trainer)
    made.save(f"{folder}/tokenizer.json")
    settings = {"eos_token": "<|im_end|>", "chat_template": _TEMPLATE}
    Path(folder, "tokenizer_config.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    {"bare": bare, "openai": openai, "tokenizer": tokenizer}[sys.argv[1]](*sys.argv[2:])
