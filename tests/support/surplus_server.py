"""A small Tinker server that sends something behind some of its answers, as a confused proxy does.

Run as `python surplus_server.py SHARE KIND`: prints its port, serves until its input ends, and then prints how many
surpluses it sent in time, up to 2 ms behind an answer. KIND is "answer", for the answer once more, or "line".
The result of a sample is its prompt.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

MOST_SECONDS = 0.002
chance = random.Random(5)


class Echo(asyncio.Protocol):
    """One connection to a server whose result of a sample is its prompt."""

    def connection_made(self, transport):
        self.transport = transport
        self.data = b""

    def data_received(self, data):
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
            if len(self.data) < end + 4 + length:
                return
            body, self.data = self.data[end + 4 : end + 4 + length], self.data[end + 4 + length :]
            self.answer(head.split()[1].rpartition("/")[2], json.loads(body or b"{}"))

    def answer(self, endpoint, body):
        self.transport.write(answer_to(endpoint, body))


def answer_to(endpoint, body):
    """The bytes of the answer to a request."""
    status, answer = "200 OK", {}
    if endpoint == "asample":
        answer = {"request_id": "r-{}-{}".format(*body["prompt"]["chunks"][0]["tokens"])}
    elif endpoint == "retrieve_future":
        tokens = [int(part) for part in body["request_id"].split("-")[1:]]
        answer = {"sequences": [{"tokens": tokens, "logprobs": [-1.0, -1.0], "stop_reason": "length"}]}
    elif endpoint in ("create_session", "create_sampling_session"):
        answer = {"session_id": "s", "sampling_session_id": "s:0"}
    elif endpoint != "session_heartbeat":
        status = "404 Not Found"
    return whole(status, answer)


def whole(status, answer):
    """The bytes of an answer in JSON."""
    text = json.dumps(answer)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return (head + text).encode()


class Surplus(Echo):
    """One that sends more than it is asked for."""

    share, kind, sent = 0.02, "answer", 0

    def answer(self, endpoint, body):
        data = answer_to(endpoint, body)
        self.transport.write(data)
        if endpoint in ("asample", "retrieve_future") and chance.random() < self.share:
            loop, seconds = asyncio.get_running_loop(), chance.uniform(0, MOST_SECONDS)
            until = loop.time() + MOST_SECONDS
            loop.call_later(seconds, self.surplus, data if self.kind == "answer" else b"\r\n", until, loop)

    def surplus(self, data, until, loop):
        if loop.time() <= until and not self.transport.is_closing():
            self.transport.write(data)
            Surplus.sent += 1


async def serve(connection):
    """Print the port, and serve until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


async def main():
    """Serve until the input ends."""
    Surplus.share, Surplus.kind = float(sys.argv[1]), sys.argv[2]
    await serve(Surplus)
    print(Surplus.sent, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
