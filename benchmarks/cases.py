"""What is measured: the cases, in the order of the table, and the figures it shows of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

BOTH = ("tinker", "tinkex")
ALL = ("tinker", "tinkex", "floor")
CODEC = ("tinker", "tinkex", "tinkex+fast")
_WAITING = ("cpu_ms", "over_s", "peak_mb", "grown_kb", "waiting_kb", "threads", "most_connections", "most_in_flight")
_CURVE = (100, 300, 1000, 4000, 10_000, 20_000)
_MOST_POLLS = 4000  # in flight, where every sample has a connection of its own
_MOST_OFFICIAL = 4000  # in flight with the official SDK, which takes minutes beyond


@dataclass(frozen=True)
class Case:
    """One line of work, done by each of some clients."""

    name: str
    scenario: str
    samples: int
    figures: tuple[str, ...]  # those of the table, the one that says most first; the JSON has all
    options: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    subjects: tuple[str, ...] = BOTH
    seconds: float = 150.0  # after which it is ended


CASES = (
    Case("import", "start", 1, ("import_cpu_ms", "process_cpu_ms", "import_ms", "modules", "rss_mb"), subjects=ALL),
    Case("import of every name", "start", 1, ("import_cpu_ms", "import_ms", "modules", "rss_mb"), {"names": True}),
    Case(
        "first sample", "start", 1, ("total_cpu_ms", "total_ms", "rss_mb", "threads"), {"connect": True}, subjects=ALL
    ),
    Case("sequential", "sequential", 500, ("cpu_ms", "p50_ms", "p99_ms", "rss_mb"), subjects=ALL),
    Case(
        "burst of 2000", "burst", 2000, ("cpu_ms", "per_s", "peak_mb", "threads", "requests_each", "sent_bytes"),
        subjects=ALL,
    ),
    Case(
        "burst of 2000, 50 ms", "burst", 2000, ("per_s", "cpu_ms", "peak_mb", "threads", "most_connections"),
        server={"latency": 0.05},
    ),
    Case("8 callers, 50 ms", "steady", 400, ("p50_ms", "p99_ms", "cpu_ms"), {"callers": 8}, {"latency": 0.05}),
    Case(
        "sample(), 1 caller", "submitting", 1000, ("p50_us", "p99_us", "max_us"), {"callers": 1}, {"latency": 0.2}
    ),
    Case("sample(), 32 callers", "submitting", 6400, ("p50_us", "p99_us", "max_us"), {"callers": 32}),
    Case(
        "prompt of 32k tokens", "large", 20, ("cpu_ms", "p50_ms", "sent_bytes", "peak_mb"),
        {"prompt": 32_768, "warm": 3}, subjects=CODEC,
    ),
    Case(
        "prompt_logprobs of 32k", "large", 20, ("cpu_ms", "p50_ms", "peak_mb"),
        {"prompt": 32_768, "scored": True, "warm": 3}, subjects=CODEC,
    ),
    Case(
        "16 x 8k tokens", "large", 20, ("cpu_ms", "p50_ms", "peak_mb"), {"count": 16, "warm": 3}, {"tokens": 8192},
        subjects=(*CODEC, "floor"),
    ),
    Case("1000 clients", "clients", 1000, ("cpu_ms", "grown_kb"), {"warm": 5}),
    Case(
        "4000 x 5 s, session poller", "burst", 4000, _WAITING, {"warm": 20},
        {"latency": 5.0, "session_poller": True, "max_concurrent": 25_000},
    ),
    Case(
        "4000 x 5 s, long polls", "burst", 4000, _WAITING, {"warm": 20}, {"latency": 5.0, "max_concurrent": 25_000}
    ),
)  # fmt: skip


def curve() -> list[Case]:
    """Cost against samples in flight, 5 s each: with the session poller, and with a long poll for each.

    Where there are very many, each takes longer, so that all of them are begun before the first ends.
    """
    points = [("session poller", samples) for samples in _CURVE]
    points += [("long polls", samples) for samples in _CURVE if samples <= _MOST_POLLS]
    return [
        Case(
            name=f"{samples} in flight, {way}",
            scenario="burst",
            samples=samples,
            figures=("cpu_ms", "waiting_kb", "grown_kb", "most_in_flight"),
            options={"warm": 20},
            server={
                "latency": max(5.0, samples / 1000),
                "session_poller": way == "session poller",
                "max_concurrent": 25_000,
            },
            subjects=BOTH if samples <= _MOST_OFFICIAL else ("tinkex",),
        )
        for way, samples in points
    ]


def quick(case: Case) -> Case:
    """The same with a quarter of the samples, for a look."""
    return replace(case, samples=max(1, case.samples // 4))
