from __future__ import annotations

import sys

import pytest

from tinkex.bulk import FlowState, Progress
from tinkex.cli.batch import progress

pytest.importorskip("click")


Console = pytest.importorskip("rich.console").Console


PROGRESS = Progress(
    done=1234, failed=3, skipped=20, fraction=0.5, seconds=10.0, remaining=61.0, prompt_tokens=2000,
    sampled_tokens=1000, cost=0.5, flow=FlowState(64, 128, "growing"), retrying=2, paused_for=12.0,
    paused_reason="rate limit \x1b[31m",
)  # fmt: skip


def test_many_updates_are_cheap(monkeypatch):
    """However often progress comes, it is drawn by the clock: taking it is one assignment."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    drawn = []
    monkeypatch.setattr(progress._Board, "__rich__", lambda self: drawn.append(1) or "")
    with progress.shown() as show:
        for _ in range(10_000):
            show(PROGRESS)
    assert len(drawn) < 50
