"""Measures tinkex beside the official SDK and beside no client at all: `python benchmarks/run.py`; see README.rst."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cases import CASES, Case, curve, quick
from environments import CHECKOUT, python_of
from report import table

HERE = Path(__file__).resolve().parent
DOCS = CHECKOUT / "docs" / "performance"
_FOREIGN = ("TINKER_", "TINKEX_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PYTHONDONTWRITEBYTECODE")


def main() -> None:
    """Run what was asked for, and write it down after every case: an interrupted run keeps what it has."""
    arguments = _arguments()
    chosen = [*CASES, *(curve() if arguments.curve else ())]
    if arguments.only:
        chosen = [case for case in chosen if any(part in case.name for part in arguments.only)]
    if arguments.quick:
        chosen = [quick(case) for case in chosen]
    results = Path(arguments.results)
    results.mkdir(parents=True, exist_ok=True)
    if arguments.docs:
        DOCS.mkdir(exist_ok=True)
    _warm_caches({subject for case in chosen for subject in case.subjects})
    record = {"about": _about(arguments.rounds), "cases": []}
    for case in chosen:
        began = time.monotonic()
        rounds = _rounds(case, arguments.rounds)
        measured = {"name": case.name, "figures": case.figures, "runs": rounds, "medians": _medians(rounds)}
        record["cases"].append(measured)
        (results / "results.json").write_text(json.dumps(record, indent=1))
        print(f"{case.name}: {time.monotonic() - began:.0f} s", flush=True)
    text = table(record)
    (results / "table.txt").write_text(text)
    print(f"\n{text}")
    subprocess.run([python_of("tinkex+fast"), HERE / "plots.py", results], check=True)
    print(f"Written to {results}: results.json, table.txt and the plots.")
    if arguments.docs:
        _publish(record, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case by each client (3)")
    parser.add_argument("--only", action="append", metavar="TEXT", help="cases with TEXT in their name; repeatable")
    parser.add_argument("--quick", action="store_true", help="a quarter of the samples in every case")
    parser.add_argument("--no-curve", dest="curve", action="store_false", help="leave out cost against in-flight")
    parser.add_argument("--docs", action="store_true", help="put table and plots into the documentation, too")
    parser.add_argument("--results", default=HERE / "results", help="where to write (benchmarks/results)")
    arguments = parser.parse_args()
    if arguments.docs and (arguments.only or arguments.quick or not arguments.curve):
        parser.error("--docs wants all of it: without --only, --quick, --no-curve")
    return arguments


def _publish(record: dict, results: Path) -> None:
    """Leave in docs/ what its page shows: the short table, the whole one and the plots; and the medians behind them."""
    kept = [{**case, "medians": _rounded(case["medians"]), "runs": None} for case in record["cases"]]
    record = {"about": record["about"], "cases": kept}
    (DOCS / "medians.json").write_text(json.dumps(record, indent=1) + "\n")
    (DOCS / "short.txt").write_text(table(record, first_only=True))
    (DOCS / "table.txt").write_text(table(record))
    for name in ("cost.svg", "latency.svg"):
        shutil.copyfile(results / name, DOCS / name)
    print(f"Written to {DOCS}; docs/performance.rst shows it.")


def _rounds(case: Case, rounds: int) -> dict[str, list[dict]]:
    """Every client in turn, then all of them again: what else the machine does falls on all alike."""
    runs: dict[str, list[dict]] = {subject: [] for subject in case.subjects}
    for _ in range(rounds):
        for subject in case.subjects:
            measured = _run(case, subject)
            if measured is not None:
                runs[subject].append(measured)
    return runs


def _run(case: Case, subject: str) -> dict | None:
    """One client process against one server process; None, with a word on stderr, where it fails."""
    with _server(case) as url:
        if case.scenario == "start":
            further = {"connect": url, "names": "names"}
            command = ["start.py", subject, *(further[option] for option in case.options)]
        else:
            job = {"subject": subject, "scenario": case.scenario, "url": url, "samples": case.samples, **case.options}
            command = ["scenario.py", json.dumps({**job, "server": case.server})]
        try:
            done = subprocess.run(
                [_python(subject), *command], cwd=HERE, env=_environment(), timeout=case.seconds, capture_output=True,
                text=True, check=True,
            )  # fmt: skip
            return json.loads(done.stdout.splitlines()[-1])
        except subprocess.SubprocessError as error:
            words = (getattr(error, "stderr", None) or "")[-500:]
            print(f"{case.name} with {subject} failed: {error} {words}", file=sys.stderr, flush=True)
            return None


@contextmanager
def _server(case: Case) -> Iterator[str]:
    command = [_python("floor"), "load_server.py", json.dumps(case.server)]
    with subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _python(subject: str) -> Path:
    return python_of("tinkex" if subject == "floor" else subject)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}


def _warm_caches(subjects: Iterable[str]) -> None:
    """Import everything once, so that no run compiles or reads what the next one has at hand."""
    for subject in sorted(subjects):
        _quietly(_python(subject), "start.py", subject)
    _quietly(_python("floor"), "-m", "compileall", "-q", HERE, CHECKOUT / "tinkex")


def _quietly(*command: object) -> None:
    subprocess.run(command, cwd=HERE, env=_environment(), check=True, capture_output=True)


def _medians(rounds: dict[str, list[dict]]) -> dict[str, dict]:
    return {subject: _median(runs) for subject, runs in rounds.items() if runs}


def _median(runs: list[dict]) -> dict:
    """Of every figure; what the server counted stands beside what the client measured."""
    flat = [{**run, **run.get("server", {})} for run in runs]
    names = {name for run in flat for name, value in run.items() if isinstance(value, int | float)}
    return {name: statistics.median(run.get(name, 0) for run in flat) for name in sorted(names)}


def _rounded(medians: dict[str, dict]) -> dict[str, dict]:
    return {
        subject: {name: float(f"{value:.4g}") for name, value in figures.items()}
        for subject, figures in medians.items()
    }


def _about(rounds: int) -> dict:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "rounds": rounds,
    }


if __name__ == "__main__":
    main()
