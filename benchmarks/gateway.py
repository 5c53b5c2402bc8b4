"""What ``tinkex serve`` costs, beside LiteLLM's proxy and a bare aiohttp handler that makes one sample.

    python benchmarks/gateway.py [--rounds 5] [--requests 400] [--connections 1] [--docs]

The servers stay up for the whole run and take turns. Behind each is a server that takes 20 ms for a sample; the one
behind LiteLLM's proxy answers the body that the gateway has answered. Printed are the medians of the rounds: CPU of the
server's process for a request, and how long the median request takes beyond those 20 ms; then the memory that each of
2,000 waiting requests takes in the gateway. Requests go one after the other, unless more connections are asked for:
then they also wait for each other, in every server. It reads /proc, so it needs Linux. `--docs` puts the table into the
documentation as well. The first time, environments are made, as by `run.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from environments import CHECKOUT, python_of

HERE = Path(__file__).resolve().parent
SECONDS, WAITING = 0.02, 2000
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
OTHERS = HERE / "gateway_servers.py"
MODEL, KEY = "bench/model", "sk-" + "0123456789abcdef" * 4
_DRAW = random.Random(7)
_MESSAGES = [
    {"role": "system", "content": "You answer in one sentence, and say so when you do not know."},
    {"role": "user", "content": "Which of the towns on the coast had a harbour before the railway came?"},
]
BODIES = {
    CHAT: {"model": MODEL, "messages": _MESSAGES, "max_tokens": 16},
    COMPLETIONS: {"model": MODEL, "prompt": [_DRAW.randrange(8000) for _ in range(64)], "max_tokens": 16},
}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """One that is measured: where it listens, and its process."""

    url: str
    process: int

    def cpu(self) -> float:
        """Seconds of CPU so far, with processes of its own that have ended."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS

    def status(self, name: str) -> int:
        """A number of the process' status: kilobytes of memory, or threads."""
        lines = Path(f"/proc/{self.process}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


async def exchange(server: Server, path: str, requests: int, connections: int, **changes: object) -> list[float]:
    """Send requests over so many connections, on each one after the other; how long each took, in seconds."""
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({**BODIES[path], **changes}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {KEY}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def one(count: int) -> list[float]:
        reader, writer = await asyncio.open_connection(host, int(port))
        taken = []
        with contextlib.closing(writer):
            for _ in range(count):
                began = time.perf_counter()
                writer.write(request)
                received = (await reader.readuntil(b"\r\n\r\n")).lower()
                assert received.startswith(b"http/1.1 200"), received + await reader.read(1000)
                await reader.readexactly(int(received.partition(b"content-length:")[2].split()[0]))
                taken.append(time.perf_counter() - began)
        return taken

    shares = await asyncio.gather(*[one(requests // connections) for _ in range(connections)])
    return [seconds for share in shares for seconds in share]


def measure(server: Server, path: str, requests: int, connections: int) -> dict[str, float]:
    """CPU of a request, and what the median one takes beyond the sample's own time; both in ms."""
    before = server.cpu()
    taken = asyncio.run(exchange(server, path, requests, connections))
    cpu = server.cpu() - before
    return {"cpu_ms": cpu * 1e3 / len(taken), "added_ms": (statistics.median(taken) - SECONDS) * 1e3}


async def memory(server: Server, upstream: str) -> dict[str, float]:
    """KiB of memory that a waiting request takes in the gateway, and its threads meanwhile."""
    await exchange(server, COMPLETIONS, 200, 50)
    before = server.status("VmRSS")
    control(upstream, latency=60.0, reset=True)
    waiting = asyncio.ensure_future(exchange(server, COMPLETIONS, WAITING, WAITING, prompt="Where was a harbour?"))
    deadline = time.monotonic() + 60
    while (await asyncio.to_thread(control, upstream)).get("most_in_flight", 0) < WAITING:
        assert time.monotonic() < deadline
        assert not waiting.done()
        await asyncio.sleep(0.2)
    found = {"waiting_kb": (server.status("VmRSS") - before) / WAITING, "threads": server.status("Threads")}
    waiting.cancel()
    await asyncio.wait([waiting])
    return found


# --- Servers


@contextlib.contextmanager
def started(*command: object, url: str | None = None, **variables: str) -> Iterator[Server]:
    """A server that prints its URL, unless that is known."""
    foreign = ("TINKER_", "TINKEX_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
    output = subprocess.PIPE if url is None else subprocess.DEVNULL
    options = {"env": {**environ, **variables}, "stdin": subprocess.PIPE, "stdout": output, "text": True}
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, cwd=HERE, stderr=log, **options) as process:
        try:
            yield Server(url or process.stdout.readline().strip().removesuffix("/v1"), process.pid)
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-2000:].decode())
            raise
        finally:
            process.kill()


def tinker_server(**options: object) -> contextlib.AbstractContextManager[Server]:
    """The server that the gateway and the bare handler sample from."""
    return started(python_of("serve"), "load_server.py", json.dumps({"vocabulary": 8000, **options}))


def gateway(url: str, tokenizer: str) -> contextlib.AbstractContextManager[Server]:
    """`tinkex serve`."""
    command = ("-c", "from tinkex.cli import main; main()", "serve", MODEL, "--base-url", url, "--port", "0")
    keys = {"TINKER_API_KEY": "tml-benchmark", "TINKEX_SERVE_API_KEY": KEY}
    return started(python_of("serve"), *command, "--tokenizer", tokenizer, **keys)


@contextlib.contextmanager
def litellm_proxy(url: str, folder: str) -> Iterator[Server]:
    """LiteLLM's proxy in front of an OpenAI server, as its documentation starts it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    model = {"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": "none"}
    config = Path(folder, "litellm.json")
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": model}]}))
    program = python_of("litellm").with_name("litellm")
    command = (program, "--config", config, "--host", "127.0.0.1", "--port", str(port))
    variables = {"LITELLM_MASTER_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with started(*command, url=f"http://127.0.0.1:{port}", **variables) as proxy:
        deadline = time.monotonic() + 240
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{proxy.url}/health/liveliness", timeout=2).close()
                break
            assert time.monotonic() < deadline, "LiteLLM's proxy does not start"
            time.sleep(0.5)
        yield proxy


def control(upstream: str, **changes: object) -> dict:
    """Change options of a load server; what it has counted."""
    request = urllib.request.Request(f"{upstream}/control", json.dumps(changes).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def answered(server: Server, path: str) -> str:
    """The body that a server answers."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(server.url + path, json.dumps(BODIES[path]).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


# --- The whole


def run(rounds: int, requests: int, connections: int) -> dict[str, dict[str, float]]:
    """Every server in turn, then all of them again; the medians by server and path."""
    found: dict[str, list[dict[str, float]]] = {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        subprocess.run([python_of("serve"), OTHERS, "tokenizer", folder], check=True)
        tinker = stack.enter_context(tinker_server(latency=SECONDS))
        servers = {"tinkex serve": stack.enter_context(gateway(tinker.url, folder))}
        prepared = Path(folder, "bodies.json")
        prepared.write_text(json.dumps({path: answered(servers["tinkex serve"], path) for path in BODIES}))
        openai = stack.enter_context(started(python_of("serve"), OTHERS, "openai", prepared, str(SECONDS)))
        servers["LiteLLM"] = stack.enter_context(litellm_proxy(openai.url, folder))
        servers["bare aiohttp"] = stack.enter_context(started(python_of("serve"), OTHERS, "bare", tinker.url))
        turns = [(name, path) for path in BODIES for name in servers if (name, path) != ("bare aiohttp", CHAT)]
        for number in range(rounds + 1):  # the first is a warm-up
            for name, path in turns:
                figures = measure(servers[name], path, requests if number else requests // 4, connections)
                found.setdefault(f"{name} {path}", []).extend([figures] if number else [])
        for poller in (True, False):
            with tinker_server(session_poller=poller) as patient, gateway(patient.url, folder) as measured:
                case = f"{WAITING} waiting, {'session poller' if poller else 'long polls'}"
                found[case] = [asyncio.run(memory(measured, patient.url))]
    return {
        case: {name: statistics.median(each[name] for each in runs) for name in runs[0]} for case, runs in found.items()
    }


def table(medians: dict[str, dict[str, float]]) -> str:
    """The medians, and their ratios to those of LiteLLM's proxy."""
    lines = [f"{'':38}{'CPU, ms':>10}{'added, ms':>12}"]
    for case, found in medians.items():
        if "cpu_ms" in found:
            others = medians[f"LiteLLM {case.rpartition(' ')[2]}"]
            cells = [f"{found[name]:.2f} ({found[name] / others[name]:.2f})" for name in ("cpu_ms", "added_ms")]
            lines.append(f"{case:36}{cells[0]:>14}{cells[1]:>15}")
        else:
            lines.append(f"{case:36}{found['waiting_kb']:.1f} KiB a request, {found['threads']:.0f} threads")
    ours, bare = medians[f"tinkex serve {COMPLETIONS}"], medians[f"bare aiohttp {COMPLETIONS}"]
    cpu, added = ((ours[name] - bare[name]) * 1e3 for name in ("cpu_ms", "added_ms"))
    return "\n".join([*lines, f"above the bare handler: {cpu:.0f} us of CPU, {added:.0f} us of the median latency"])


def main() -> None:
    """Measure all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400, help="of each round, for each server and path")
    parser.add_argument("--connections", type=int, default=1, help="that requests come over at the same time")
    parser.add_argument("--docs", action="store_true", help="put the table into the documentation, too")
    options = parser.parse_args()
    text = table(run(options.rounds, options.requests, options.connections))
    print(text)
    if options.docs:
        lines = "".join(f"    {line}\n" for line in text.splitlines())
        (CHECKOUT / "docs" / "performance" / "gateway.txt").write_text(f"::\n\n{lines}")


if __name__ == "__main__":
    main()
