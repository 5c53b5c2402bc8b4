"""One scenario with one client, in a process of its own: prints what it measured as a line of JSON.

    python scenario.py '{"subject": "tinkex", "scenario": "burst", "url": ..., "samples": 2000, ...}'

CPU is that of this process, all threads, user and system, over the measured part alone: a warm-up comes before it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from subjects import SUBJECTS, read

_POINTS = 200  # of a latency distribution, for the plot


class Bench:
    """The client under test, warmed up, and what a scenario needs to use it."""

    def __init__(self, job: dict) -> None:
        self.job = job
        self.samples: int = job["samples"]
        self.subject = SUBJECTS[job["subject"]](job["url"], job.get("most", 25_000))
        self.client = self.subject.client()
        draw = random.Random(7)
        self.tokens = [draw.randrange(150_000) for _ in range(job.get("prompt", 64))]
        self.prompt = self.subject.prompt(self.tokens)
        self.params = self.subject.params(job["server"].get("tokens", 16))
        self.count: int = job.get("count", 1)
        self.scored: bool = job.get("scored", False)

    def sample(self):
        return self.subject.sample(self.client, self.prompt, self.params, self.count, self.scored)

    def warm_up(self) -> None:
        latency = self.tell_server(latency=0)["latency"]
        for _ in range(self.job.get("warm", 50)):
            read(self.sample().result())
        self.tell_server(latency=latency, reset=True)

    def tell_server(self, **changes) -> dict:
        """Change the server's options; what it counted since the last reset, and its options before the change."""
        parts = urlsplit(self.job["url"])
        body = json.dumps(changes).encode()
        with socket.create_connection((parts.hostname, parts.port), 10) as channel:
            channel.sendall(b"POST /control HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return json.loads(channel.recv(65_536).partition(b"\r\n\r\n")[2])


class Measured:
    """A context that measures what this process spends inside it."""

    def __enter__(self):
        gc.collect()
        self.threads = 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._count_threads)
        self._watch.start()
        self.memory_before = memory()
        self._before = resource.getrusage(resource.RUSAGE_SELF)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self._began
        after = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu = sum(after[:2]) - sum(self._before[:2])
        self.switches = after.ru_nvcsw - self._before.ru_nvcsw
        self._over.set()
        self._watch.join()

    def _count_threads(self):
        while True:
            self.threads = max(self.threads, threads() - 1)  # without this one
            if self._over.wait(0.25):
                return

    def per_sample(self, samples: int) -> dict:
        return {
            "cpu_ms": self.cpu / samples * 1e3,
            "wall_s": self.wall,
            "per_s": samples / self.wall,
            "switches": self.switches / samples,
            "threads": self.threads,
            "rss_mb": memory(),
            "peak_mb": peak_memory(),
        }


def sequential(bench: Bench) -> dict:
    """One sample after the other, each read."""
    seconds = []
    with Measured() as measured:
        for _ in range(bench.samples):
            began = time.perf_counter()
            read(bench.sample().result())
            seconds.append(time.perf_counter() - began)
    return {**measured.per_sample(bench.samples), **_latencies(seconds, 1e3, "ms")}


def burst(bench: Bench) -> dict:
    """All at once from one thread; then all are read."""
    latency = bench.job["server"].get("latency", 0)
    with Measured() as measured:
        began = time.monotonic()
        futures = [bench.sample() for _ in range(bench.samples)]
        time.sleep(max(0.0, began + 0.8 * latency - time.monotonic()))  # by then all wait, and none has ended
        in_flight = memory()
        for future in futures:
            read(future.result())
    grown, waiting = ((most - measured.memory_before) * 1024 / bench.samples for most in (peak_memory(), in_flight))
    figures = {"over_s": measured.wall - latency, "grown_kb": grown, "waiting_kb": waiting}
    return {**measured.per_sample(bench.samples), **figures}


def steady(bench: Bench) -> dict:
    """A few threads, each of which samples, reads and samples again."""
    seconds: list[float] = []

    def call() -> None:
        for _ in range(bench.samples // callers):
            began = time.perf_counter()
            read(bench.sample().result())
            seconds.append(time.perf_counter() - began)

    callers = bench.job["callers"]
    with Measured() as measured:
        _together(call, callers)
    latency = bench.job["server"].get("latency", 0)
    over = [each - latency for each in seconds]
    return {**measured.per_sample(len(seconds)), **_latencies(over, 1e3, "ms")}


def submitting(bench: Bench) -> dict:
    """How long `sample()` keeps its caller, by so many callers at once."""
    seconds: list[float] = []
    callers = bench.job["callers"]
    start = threading.Barrier(callers)

    def call() -> None:
        futures, own = [], []
        start.wait()
        for _ in range(bench.samples // callers):
            began = time.perf_counter()
            futures.append(bench.sample())
            own.append(time.perf_counter() - began)
        seconds.extend(own)
        for future in futures:
            future.result()

    with Measured() as measured:
        _together(call, callers)
    return {**measured.per_sample(len(seconds)), **_latencies(seconds, 1e6, "us")}


def large(bench: Bench) -> dict:
    """Few samples, one after the other, with a lot to send or to read; each has a prompt of its own."""
    seconds = []
    with Measured() as measured:
        for _ in range(bench.samples):
            began = time.perf_counter()
            bench.prompt = bench.subject.prompt(bench.tokens)
            response = bench.sample().result()
            read(response)
            if bench.scored:
                len(response.prompt_logprobs)
            seconds.append(time.perf_counter() - began)
    return {**measured.per_sample(bench.samples), **_latencies(seconds, 1e3, "ms")}


def clients(bench: Bench) -> dict:
    """Many sampling clients of one service, made one after the other and kept."""
    with Measured() as measured:
        kept = [bench.subject.client() for _ in range(bench.samples)]
    grown = (memory() - measured.memory_before) * 1024
    return {**measured.per_sample(len(kept)), "grown_kb": grown / len(kept)}


SCENARIOS = {scenario.__name__: scenario for scenario in (sequential, burst, steady, submitting, large, clients)}


def memory() -> float:
    """Resident memory in MiB; where the system does not tell, its peak."""
    return _status("VmRSS")


def peak_memory() -> float:
    """The most resident memory so far, in MiB."""
    return _status("VmHWM")


def _status(field: str) -> float:
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def threads() -> int:
    """Threads of this process, also those that Python did not start, where the system tells."""
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return threading.active_count()


def _together(call, callers: int) -> None:
    started = [threading.Thread(target=call) for _ in range(callers)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def _latencies(seconds: list[float], factor: float, unit: str) -> dict:
    ordered = sorted(each * factor for each in seconds)

    def at(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))]

    points = [round(at(index / _POINTS), 4) for index in range(_POINTS)]
    return {f"p50_{unit}": at(0.5), f"p99_{unit}": at(0.99), f"max_{unit}": ordered[-1], "distribution": points}


def main() -> None:
    """Do it, print it, and leave without a farewell to the server."""
    job = json.loads(sys.argv[1])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))
    bench = Bench(job)
    bench.warm_up()
    measured = SCENARIOS[job["scenario"]](bench)
    counted = bench.tell_server()
    figures = {name: value for name, value in counted.items() if name != "latency"}
    samples = max(1, counted.get("asample", 0))
    figures["requests_each"] = counted.get("requests", 0) / samples
    figures["sent_bytes"] = counted.get("bytes", 0) / samples
    figures["server_cpu_ms"] = counted["cpu"] / samples * 1e3
    print(json.dumps({**measured, "server": figures}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
