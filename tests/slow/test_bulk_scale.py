"""What large files cost: memory, and CPU beside bare samples."""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import textwrap
import time

import pytest

import tinkex
from tinkex import bulk, testing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = pathlib.Path(__file__).parents[2]
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}


MILLION = """
import sys
from tinkex._sampling import stream
from tinkex.future import SampleFuture

def start(item):
    future = SampleFuture(None)
    future.set_result(item)
    return future

results = getattr(stream, sys.argv[1])(iter(range(1_000_000)), start, 1000, return_exceptions=False)
blocks = [sys.getallocatedblocks() for number, _ in enumerate(results) if number % 50_000 == 5000]
assert len(blocks) == 20
assert max(blocks) - blocks[0] < 50_000, blocks
"""


@pytest.mark.parametrize("run", ["in_order", "as_completed"])
def test_a_million_items_in_constant_memory(run):
    """What `sample_many` stands on takes a million items and keeps none of them."""
    # A process of its own, since other tests' threads allocate as well.
    subprocess.run([sys.executable, "-c", MILLION, run], check=True, cwd=ROOT)


def test_two_hundred_thousand_rows_in_200_mb(tmp_path):
    """A run of 200,000 rows of text, and the next that finds them all done, stay under 200 MB."""
    script = textwrap.dedent("""
        import json, sys
        import tinkex, rich, click
        from peak_memory import peak_bytes
        from tinkex import bulk
        from tinkex.future import SampleFuture
        from tinkex.types import SampledSequence, SampleResponse, Usage, Timing

        class Letters:
            def encode(self, text):
                return [ord(letter) for letter in text]

            def decode(self, ids):
                return "".join(map(chr, ids))

        class Instant:
            def sample(self, prompt, params, **options):
                future = SampleFuture(None)
                sequence = SampledSequence(list(range(97, 113)), [-1.0] * 16)
                future.set_result(SampleResponse([sequence], usage=Usage(20, 16, 0), timing=Timing()))
                return future

            def stats(self):
                return tinkex.ServiceStats()

        models = bulk.Models(("m",), lambda name: Instant(), Letters())
        with open("in.jsonl", "w") as file:
            for number in range(200_000):
                file.write(json.dumps({"id": f"row-{number}", "prompt": f"the text of row {number}"}) + "\\n")
        told = []
        for _ in range(2):
            summary = bulk.run(
                "in.jsonl", "out.jsonl", models, max_tokens=16, canary=False, on_progress=lambda p: told.append(1)
            )
            print(summary.done, summary.skipped, peak_bytes())
    """)
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRON, check=True, capture_output=True, text=True,
        timeout=800,
    )  # fmt: skip
    (done, _, first), (_, skipped, second) = [map(int, line.split()) for line in ended.stdout.splitlines()]
    assert (done, skipped) == (200_000, 200_000)
    assert max(first, second) < 200 * 2**20


def test_cpu_beside_bare_samples(tmp_path):
    """On a server without delay a row costs little more CPU than a bare sample: on a calm machine 1.1 times as much."""
    count = 1000
    prompts = [[(number + place) % 1000 for place in range(32)] for number in range(count)]
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps({"id": n, "prompt": prompt}) + "\n" for n, prompt in enumerate(prompts)))
    params = tinkex.SamplingParams(max_tokens=16)

    def bare():
        for future in [client.sample(prompt, params) for prompt in prompts]:
            future.result()

    def whole(number):
        bulk.run(rows, tmp_path / f"{number}.jsonl", client, max_tokens=16, omit=["text"])

    def cost(call):
        began = time.process_time()
        call()
        return time.process_time() - began

    with testing.FakeServerProcess(record=False) as server:
        config = tinkex.ClientConfig(telemetry=False)
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-test", config=config) as service:
            client = service.create_sampling_client(base_model="fake/model")
            bare()
            ratios = [cost(lambda at=number: whole(at)) / cost(bare) for number in range(3)]
    assert statistics.median(ratios) <= 1.3


ENDS = """
import sys
from peak_memory import peak_bytes
import tinkex, rich, click
from tinkex import bulk
from tinkex.errors import InternalServerError, MissingFeatureError, NotFoundError, SampleTimeoutError
from tinkex.future import SampleFuture
from tinkex.types import SampledSequence, SampleResponse, Timing, Usage

kind, count = sys.argv[1], int(sys.argv[2])
made = {
    "good": lambda n: {"prompt": [97] * 20}, "failed": lambda n: {"prompt": [97] * 20},
    "cancelled": lambda n: {"prompt": [97] * 20}, "too late": lambda n: {"prompt": [97] * 20},
    "without tokenizer": lambda n: {"prompt": f"the text of row {n}"}, "no text": lambda n: {"prompt": [97] * 20},
    "unknown model": lambda n: {"prompt": [97], "model": "gone"},
    "many unknown models": lambda n: {"prompt": [97], "model": f"gone-{n}"},
    "wrong": lambda n: {"prompt": [97], "temperature": -1 - n}, "twice": lambda n: {"id": 7, "prompt": [97]},
    "without id": lambda n: {"id": None, "prompt": [97]}, "choices": lambda n: {"prompt": [97], "choices": [[1], [2]]},
}[kind]

class Client:
    def sample(self, prompt, params, **options):
        future = SampleFuture(None)
        if kind == "failed":
            future.set_exception(InternalServerError("the model stumbled", 500))
        elif kind == "too late":
            future.set_exception(SampleTimeoutError("no result", "waiting"))
        elif kind == "cancelled":
            future.cancel()
        else:
            sequence = SampledSequence(list(range(97, 113)), [-1.0] * 16)
            scores = [None] * prompt.length
            future.set_result(SampleResponse([sequence], prompt_logprobs=scores, usage=Usage(20, 16), timing=Timing()))
        return future

    def stats(self):
        return tinkex.ServiceStats()

    def get_tokenizer(self):
        raise MissingFeatureError("This server tells no tokenizer.")

def open_model(name):
    if name != "m":
        raise NotFoundError(f"no model {name}", 404)
    return Client()

given = ({"id": n, **made(n)} for n in range(count))
first = [{"id": "first", "prompt": [1]}]  # can be tried, whatever the others are like
rows = (row for part in (first, given) for row in part)
summary = bulk.run(rows, "out.jsonl", bulk.Models(("m",), open_model), max_tokens=16, canary=False)
assert summary.done + summary.failed == count + 1
print(peak_bytes())
"""


@pytest.mark.parametrize(
    "kind",
    ["good", "failed", "cancelled", "too late", "without tokenizer", "no text", "unknown model",
     "many unknown models", "wrong", "twice", "without id", "choices"],
)  # fmt: skip
def test_memory_whatever_ends_the_rows(kind, tmp_path):
    """A run holds at most 60 MB and a quarter of a kilobyte a row, however its rows end."""
    count = 20_000
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, kind, str(count)], cwd=tmp_path, env=ENVIRON, check=True, capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    assert int(ended.stdout) < 60e6 + 256 * count
