"""Measures the local model through the command line, beside another checkout: `python benchmarks/local_model.py`.

Prints the median of each figure and, with ``--against DIR``, the same for the tinkex in that checkout, run in turns
with this one, their ratio, and how far the two agree: in tokens and in log-probabilities.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
_COMMAND = (sys.executable, "-c", "from tinkex.cli import main; main()")
_PLACES = ("Oslo", "Lima", "Kyoto", "Cairo", "Quito", "Dublin", "Accra", "Hanoi", "Bern", "Tunis", "Riga", "Perth")
_THINGS = ("harbour", "library", "station", "market", "bridge", "museum", "garden", "tower", "school", "theatre")
_CHOICES = ("because it rained", "since the gates were shut", "as the ferry was late", "for want of a key")


def main() -> None:
    """Run every case in every checkout, in turns, and print the table."""
    options = _options()
    trees = {"this": CHECKOUT} | ({"against": options.against.resolve()} if options.against else {})
    with tempfile.TemporaryDirectory(prefix="tinkex-bench-") as place:
        for name, unit, run in _cases(Path(place), options):
            if options.only and options.only not in name:
                continue
            figures: dict[str, list[float]] = {tree: [] for tree in trees}
            answers: dict[str, Any] = {}
            for _ in range(options.rounds):
                for tree, path in trees.items():
                    figure, answers[tree] = run(path)
                    figures[tree].append(figure)
            print(_line(name, unit, figures, answers), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout of tinkex")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=500, help="of four choices each, to score")
    parser.add_argument("--rows", type=int, default=64, help="to sample 64 tokens for each")
    parser.add_argument("--only", metavar="TEXT", help="cases with this in their name")
    parser.add_argument("--runtime", choices=("auto", "numpy"), default="auto", help="what computes")
    return parser.parse_args()


def _cases(place: Path, options: argparse.Namespace) -> Iterable[tuple[str, str, Callable[[Path], tuple[float, Any]]]]:
    questions, stories = place / "questions.jsonl", place / "stories.jsonl"
    _write(questions, _scored_rows(options.questions))
    _write(stories, ({"id": row, "prompt": _story(row)} for row in range(options.rows)))
    environ = {**os.environ, "OPENBLAS_VERBOSE": "0"}
    if options.runtime == "numpy":
        environ["PYTHONPATH"] = str(_without_library(place))

    def cli(tree: Path, *arguments: str) -> tuple[float, str]:
        path = os.pathsep.join([str(tree), *filter(None, [environ.get("PYTHONPATH")])])
        started = time.perf_counter()
        done = subprocess.run(
            [*_COMMAND, *arguments], env={**environ, "PYTHONPATH": path}, cwd=place, capture_output=True, check=True
        )
        return time.perf_counter() - started, done.stdout.decode()

    def first_token(tree: Path) -> tuple[float, Any]:
        return cli(tree, "sample", "--local", "The capital of France is", "-m", "1", "--temperature", "0")

    def batch(tree: Path, source: Path, per_row: int, *arguments: str) -> tuple[float, Any]:
        target = place / "out.jsonl"
        target.unlink(missing_ok=True)
        seconds, _ = cli(tree, "batch", "run", str(source), "-o", str(target), "--local", *arguments)
        rows = [json.loads(line) for line in target.read_text().splitlines()]
        return len(rows) * per_row / seconds, sorted(rows, key=lambda row: int(row["id"]))

    yield "sample, to first token", "s", first_token
    yield "score 4 choices", "rows/s", lambda tree: batch(tree, questions, 1, "--score", "--max-in-flight", "16")
    words = ("-m", "64", "--temperature", "0", "--max-in-flight", "16", "--no-adapt")
    yield "sample 64 tokens, 16 in flight", "tokens/s", lambda tree: batch(tree, stories, 64, *words)


def _without_library(place: Path) -> Path:
    """A folder for Python's path in which the prebuilt library cannot be imported."""
    folder = place / "numpy-only"
    folder.mkdir()
    (folder / "ik_llama_cpp.py").write_text("raise ImportError\n")
    return folder


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _story(row: int) -> str:
    place, thing = _PLACES[row % len(_PLACES)], _THINGS[row % len(_THINGS)]
    return f"It was the {row + 2}nd winter that the {thing} of {place} had been empty. One morning,"


def _scored_rows(questions: int) -> Iterable[dict[str, Any]]:
    for number in range(questions):
        place, other = _PLACES[number % len(_PLACES)], _PLACES[(number // 7 + 3) % len(_PLACES)]
        thing = _THINGS[number % len(_THINGS)]
        question = (
            f"Question {number + 1}: A traveller came from {other} to {place} to see the old {thing}. She had read"
            f" about it in a letter of {1700 + number}, and had saved for {number % 9 + 2} years. When she stood before"
            f" the {thing}, she could not go in, and went back the same evening. Why did she not see it?\n"
            "Answer: She did not see it "
        )
        for choice, words in enumerate(_CHOICES):
            yield {"id": 4 * number + choice, "prompt": f"{question}{words}."}


def _line(name: str, unit: str, figures: dict[str, list[float]], answers: dict[str, Any]) -> str:
    median = {tree: statistics.median(values) for tree, values in figures.items()}
    line = f"{name:32} {median['this']:9.3g} {unit}"
    if "against" in median:
        ratio = median["this"] / median["against"]
        line += f"   against {median['against']:9.3g}   ratio {ratio:.2f}   {_agreement(answers)}"
    return line


def _agreement(answers: dict[str, Any]) -> str:
    ours, theirs = answers["this"], answers["against"]
    if isinstance(ours, str):
        return "same text" if ours == theirs else "ANOTHER TEXT"
    pairs = list(zip(ours, theirs, strict=True))
    same = sum(_tokens(one) == _tokens(other) for one, other in pairs)
    far = max(_distance(one, other) for one, other in pairs)
    hits = sum((row.get("usage") or {}).get("prompt_cache_hit_tokens") or 0 for row in ours)
    return (
        f"same tokens in {same} of {len(pairs)} rows, log-probabilities within {far:.1g}, {hits} tokens from the cache"
    )


def _tokens(row: dict[str, Any]) -> list[Any]:
    return [row["prompt_tokens"], *(sequence["tokens"] for sequence in row["sequences"])]


def _numbers(row: dict[str, Any]) -> Sequence[float | None]:
    scores = row.get("prompt_logprobs") or []
    return [*scores, *(number for sequence in row["sequences"] for number in sequence["logprobs"])]


def _distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    pairs = zip(_numbers(one), _numbers(other), strict=False)
    return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)


if __name__ == "__main__":
    main()
