"""CPU of a sample for one program by four roads: the official SDK, tinkex in its place, and tinkex itself.

    python benchmarks/compat.py [--samples 2000] [--rounds 5] [--docs]

Each run is a fresh process with a fresh server process, and the roads take turns. Printed are milliseconds of CPU of
the client's process for a sample, the medians of the rounds, and their ratios. `--docs` puts the table into the
documentation as well. The first time, an environment is made, as by `run.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from environments import CHECKOUT, python_of

ROADS = ("tinker", "install", "compat", "tinkex")
PROGRAMS = ("awaited", "results", "scored")
IN_FLIGHT, MODEL, KEY = 256, "bench/model", "tml-benchmark"
TITLES = {
    "awaited": "256 coroutines await samples of 16 tokens, prompts of 64",
    "results": "threads ask for results: all begun, then waited for",
    "scored": "compute_logprobs of prompts of 512 tokens, awaited",
}


def client_of(road: str, url: str) -> tuple[Any, Any]:
    """The sampling client of a road, and the module whose types the program uses."""
    if road == "tinkex":
        import tinkex

        return tinkex.ServiceClient(base_url=url, api_key=KEY).create_sampling_client(base_model=MODEL), tinkex
    import tinker

    if road == "compat":
        import tinkex.compat

        service: Any = tinkex.compat.ServiceClient(base_url=url, api_key=KEY)
    else:
        service = tinker.ServiceClient(base_url=url, api_key=KEY)
    if road == "install":
        import tinkex.compat

        tinkex.compat.install(KEY)
    return service.create_sampling_client(base_model=MODEL).result(), tinker


def read(response: Any) -> int:
    """Touch what a program would: tokens and log-probabilities as lists."""
    return sum(len(sequence.tokens) + len(sequence.logprobs) for sequence in response.sequences)


async def many(one: Callable[[list[int]], Awaitable[Any]], prompts: list[list[int]]) -> None:
    """Await one call for each prompt, so many at a time."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def placed(prompt: list[int]) -> None:
        async with places:
            await one(prompt)

    await asyncio.gather(*[placed(prompt) for prompt in prompts])


def program_of(name: str, client: Any, types: Any) -> Callable[[list[list[int]]], None]:
    """The program: what it does with a list of prompts. It is the same for every road but for the types."""
    params = types.SamplingParams(max_tokens=16)

    def sample(prompt: list[int]) -> Any:
        return client.sample(prompt=types.ModelInput.from_ints(prompt), num_samples=1, sampling_params=params)

    async def awaited(prompt: list[int]) -> None:
        read(await sample(prompt))

    async def scored(prompt: list[int]) -> None:
        assert len(await client.compute_logprobs(types.ModelInput.from_ints(prompt))) == len(prompt)

    def results(prompts: list[list[int]]) -> None:
        for future in [sample(prompt) for prompt in prompts]:
            read(future.result())

    if name == "results":
        return results
    one = awaited if name == "awaited" else scored
    return lambda prompts: asyncio.run(many(one, prompts))


def measure(road: str, name: str, samples: int) -> float:
    """Milliseconds of CPU that this process spends on a sample."""
    from tinkex.testing import FakeServerProcess

    draw = random.Random(7)
    length = 512 if name == "scored" else 64
    prompts = [[draw.randrange(150_000) for _ in range(length)] for _ in range(samples)]
    with FakeServerProcess(record=False) as server:
        program = program_of(name, *client_of(road, server.url))
        program(prompts[:50])
        began = time.process_time()
        program(prompts)
        return (time.process_time() - began) * 1e3 / samples


def run(road: str, name: str, samples: int) -> float:
    """The same in a process of its own."""
    command = [python_of("compat"), __file__, "--measure", road, name, "--samples", str(samples)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    return float(json.loads(done.stdout.splitlines()[-1]))


def table(figures: dict[str, dict[str, float]]) -> str:
    """The medians of each program, and what they are to those of the SDK and of tinkex."""
    lines = [f"{'CPU of a sample, ms':58}{''.join(f'{road:>9}' for road in ROADS)}   compat/tinker   compat/tinkex"]
    for name, found in figures.items():
        row = "".join(f"{found[road]:9.2f}" for road in ROADS)
        slower = max(found["compat"], found["install"])
        lines.append(f"{TITLES[name]:58}{row}{slower / found['tinker']:16.2f}{slower / found['tinkex']:16.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure one run, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--measure", nargs=2, metavar=("ROAD", "PROGRAM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        road, name = options.measure
        print(json.dumps(measure(road, name, options.samples)), flush=True)
        sys.stdout.flush()
        return
    figures = {}
    for name in PROGRAMS:
        rounds = [{road: run(road, name, options.samples) for road in ROADS} for _ in range(options.rounds)]
        figures[name] = {road: statistics.median(each[road] for each in rounds) for road in ROADS}
        print(name, json.dumps(rounds), flush=True)
    print(table(figures))
    if options.docs:
        text = "::\n\n" + "".join(f"    {line}\n" for line in table(figures).splitlines())
        (Path(CHECKOUT) / "docs" / "performance" / "compat.txt").write_text(text)


if __name__ == "__main__":
    main()
