"""CPU of a row of `tinkex.bulk.run` beside a sample of `SamplingClient.sample_many`; run it as it stands.

    python benchmarks/batch_rows.py [ROWS]

The server is a process of its own, so that only the client is counted. Both sample the same prompts from it, by turns;
with a tokenizer, both turn text into tokens and back. Printed are microseconds of CPU, the medians of several turns.
"""

from __future__ import annotations

import gc
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import tinkex
from tinkex import bulk, testing

PROMPT, ANSWER, TURNS = 32, 16, 9


class Letters:
    """A tokenizer with a token a character."""

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids."""
        return [ord(letter) for letter in text]

    def decode(self, ids: list[int]) -> str:
        """Turn token ids into text."""
        return "".join(map(chr, ids))


class Failing:
    """A tokenizer that fails at every answer."""

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids."""
        return [ord(letter) for letter in text]

    def decode(self, ids: list[int]) -> str:
        """Fail."""
        raise ValueError("no such token")


def cpu(call: Callable[[], object]) -> float:
    """Seconds of CPU that a call takes in all threads."""
    gc.collect()
    began = time.process_time()
    call()
    return time.process_time() - began


def compare(client: tinkex.SamplingClient, count: int, tokenizer: object, *, text: bool) -> tuple[float, float, float]:
    """Microseconds of CPU for a sample and for a row, and the median of their ratios; with *text*, prompts are text."""
    prompts = [[97 + (number + place) % 26 for place in range(PROMPT)] for number in range(count)]
    texts = ["".join(map(chr, prompt)) for prompt in prompts]
    params = tinkex.SamplingParams(max_tokens=ANSWER)
    letters = Letters()
    folder = pathlib.Path(tempfile.mkdtemp())
    given = texts if text else prompts
    rows = "".join(json.dumps({"id": number, "prompt": prompt}) + "\n" for number, prompt in enumerate(given))
    (folder / "in.jsonl").write_text(rows)

    def samples() -> None:
        seen: list[int] = []
        items = ({"prompt": letters.encode(each)} for each in texts) if text else iter(prompts)
        for response in client.sample_many(items, params, max_in_flight=256):
            for sequence in response.sequences:
                seen.append(len(sequence.tokens) + len(sequence.logprobs or ()))
                if text:
                    letters.decode(sequence.tokens)

    def batch(number: int) -> None:
        limits = bulk.Limits(max_in_flight=256, adaptive=False)
        omit = () if tokenizer else ("text",)
        bulk.run(folder / "in.jsonl", folder / f"{number}.jsonl", client, tokenizer=tokenizer, limits=limits,
                 max_tokens=ANSWER, omit=omit)  # fmt: skip

    samples()
    turns = [(cpu(samples), cpu(lambda at=number: batch(at))) for number in range(TURNS)]  # type: ignore[misc]
    sample, row = (statistics.median(each) * 1e6 / count for each in zip(*turns, strict=True))
    return sample, row, statistics.median(second / first for first, second in turns)


def main() -> None:
    """Print a line for each way."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    config = tinkex.ClientConfig(telemetry=False)
    with (
        testing.FakeServerProcess(record=False) as server,
        tinkex.ServiceClient.direct(server.url, config=config) as service,
    ):
        client = service.create_sampling_client(base_model="fake/model")
        for name, tokenizer, text in (
            ("token ids", None, False), ("text", Letters(), True), ("a tokenizer that fails", Failing(), False),
        ):  # fmt: skip
            sample, row, ratio = compare(client, count, tokenizer, text=text)
            print(f"{name:24} sample {sample:6.0f} us   row {row:6.0f} us   ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
