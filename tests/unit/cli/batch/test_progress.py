"""What a person sees of a batch."""

from __future__ import annotations

import io

import pytest

from tinkex.bulk import Accuracy, FlowState, Progress, Summary

pytest.importorskip("click")
Console = pytest.importorskip("rich.console").Console

from tinkex.cli.batch import progress  # noqa: E402 - click has to be there first

PROGRESS = Progress(
    done=1234, failed=3, skipped=20, fraction=0.5, seconds=10.0, remaining=61.0, prompt_tokens=2000,
    sampled_tokens=1000, cost=0.5, flow=FlowState(64, 128, "growing"), retrying=2, paused_for=12.0,
    paused_reason="rate limit \x1b[31m",
)  # fmt: skip
WORDS = (
    "1,234 done", "3 failed", "20 there before", "50%", "0:01:01 left", "0.5000", "64 of 128 in flight (growing)",
    "2 retrying", "300 tokens/s", "3,000 tokens", "paused for 12 s: rate limit",
)  # fmt: skip


def test_plain_lines(monkeypatch, capsys):
    """Without a terminal there is a line every ten seconds with all of it, and nothing that steers a terminal."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.shown() as show:
        for now[0] in (100.1, 109.9, 110.1, 110.2, 119.0):
            show(PROGRESS)
    (line,) = capsys.readouterr().err.splitlines()
    assert all(words in line for words in WORDS)
    assert "\x1b" not in line


def test_board():
    """On a terminal the same stands on a few lines under a bar."""
    board = progress._Board()
    console = Console(file=io.StringIO(), width=100)
    console.print(board)
    board.take(PROGRESS)
    console.print(board)
    shown = console.file.getvalue()
    assert all(words in shown for words in WORDS)
    assert "\x1b" not in shown


def test_accuracy(capsys):
    """The summary of a run that scored choices tells its accuracy, by either way, and what could not be decided."""
    accuracy = Accuracy(rows=3, correct=2, correct_by_mean=1, undecided=1)
    progress.tell_summary(Summary(
        done=4, failed=0, skipped=0, kept=0, interrupted=False, seconds=1.0, prompt_tokens=1, sampled_tokens=1,
        cost=None, accuracy=accuracy,
    ))  # fmt: skip
    assert capsys.readouterr().err.splitlines()[1:3] == [
        "tinkex: accuracy 66.7% by sum of log-probabilities, 33.3% by mean, of 3 rows",
        "tinkex: 1 rows count neither as right nor as wrong: a log-probability is not known",
    ]
