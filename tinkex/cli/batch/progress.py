"""Progress display of a batch: a live display on a terminal, plain lines elsewhere, and a summary."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from tinkex.cli._screen import console, harmless

if TYPE_CHECKING:
    from tinkex.bulk import Accuracy, Estimate, Progress, Summary

_PLAIN_SECONDS: Final = 10.0


@contextlib.contextmanager
def shown(*, results_here: bool = False) -> Iterator[Callable[[Progress], object]]:
    """Show the progress of a run on stderr, drawn four times a second however often it comes; yields what takes it.

    With `results_here` the results go to standard output, which a terminal shows in the same place.
    """
    if not sys.stderr.isatty() or (results_here and sys.stdout.isatty()):
        yield _plain_progress()
        return
    from rich.live import Live

    board = _Board()
    pauses = logging.getLogger("tinkex.queue_state")
    level = pauses.level
    pauses.setLevel(logging.ERROR)  # the board shows them
    try:
        with Live(board, console=console(stderr=True), refresh_per_second=4, transient=True):
            yield board.take
    finally:
        pauses.setLevel(level)


class _Board:
    """The lines on a terminal, made anew for each drawing."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def take(self, progress: Progress) -> None:
        """Show this from now on."""
        self._progress = progress

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        progress = self._progress
        if progress is None:
            return Text("reading", style="dim")
        bar = ProgressBar(total=1.0, completed=progress.fraction or 0.0, width=40, pulse=progress.fraction is None)
        lines: list[Any] = [bar, Text(" · ".join(counts(progress))), Text(" · ".join(pace(progress)), style="dim")]
        if progress.paused_for > 0:
            lines.append(Text(harmless(_pause(progress)), style="yellow"))
        return Group(*lines)


def counts(progress: Progress) -> list[str]:
    """What has ended, what it took, and what is left."""
    parts = [f"{progress.done:,} done", f"{progress.failed:,} failed"]
    if progress.skipped:
        parts.append(f"{progress.skipped:,} there before")
    if progress.fraction is not None:
        parts.append(f"{progress.fraction:.0%}")
    if progress.remaining is not None:
        parts.append(f"{duration(progress.remaining)} left")
    if progress.cost is not None:
        parts.append(f"about {progress.cost:,.4f} so far{_without(progress.unpriced)}")
    return parts


def pace(progress: Progress) -> list[str]:
    """How fast it goes."""
    flow = progress.flow
    parts = [f"{flow.in_flight:,} of {flow.most_in_flight:,} in flight ({flow.pace})"]
    if progress.retrying:
        parts.append(f"{progress.retrying:,} retrying")
    tokens = progress.prompt_tokens + progress.sampled_tokens
    return [*parts, f"{progress.tokens_per_second:,.0f} tokens/s", f"{tokens:,} tokens"]


def _pause(progress: Progress) -> str:
    return f"paused for {progress.paused_for:.0f} s: {progress.paused_reason or 'the server asked for it'}"


def _plain_progress() -> Callable[[Progress], object]:
    """A line every ten seconds."""
    last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < _PLAIN_SECONDS:
            return
        last = time.monotonic()
        pause = [_pause(progress)] if progress.paused_for > 0 else []
        click.echo("tinkex: " + harmless(", ".join([*counts(progress), *pace(progress), *pause])), err=True)

    return tell


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds.

    >>> duration(3700.2)
    '1:01:40'
    """
    return str(dt.timedelta(seconds=int(seconds)))


def tell_summary(summary: Summary) -> None:
    """Say on stderr how a run ended."""
    parts = [f"{summary.done:,} done", f"{summary.failed:,} failed"]
    if summary.skipped:
        parts.append(f"{summary.skipped:,} there before")
    tokens = summary.prompt_tokens + summary.sampled_tokens
    parts.append(f"{tokens:,} tokens in {duration(summary.seconds)}")
    parts += _money("about", summary.cost, summary.unpriced)
    lines = [", ".join(parts), *_accuracy(summary.accuracy), *summary.notes]
    if summary.kept:
        lines.append(f"{summary.kept:,} rows were made with other parameters and are kept (--changed keep)")
    for number, (error, count) in enumerate(summary.errors):
        lines.append(f"{'commonest error' if number == 0 else 'also'}, {count:,} times: {error}")
    for line in lines:
        click.echo("tinkex: " + harmless(line).replace("\n", " "), err=True)


def _accuracy(found: Accuracy | None) -> Iterator[str]:
    if found is not None and found.rows:
        share, by_mean = f"{found.accuracy:.1%}", f"{found.accuracy_by_mean:.1%}"
        yield f"accuracy {share} by sum of log-probabilities, {by_mean} by mean, of {found.rows:,} rows"
    if found is not None and found.undecided:
        yield f"{found.undecided:,} rows count neither as right nor as wrong: a log-probability is not known"


def _money(about: str, cost: float | None, unpriced: Sequence[str]) -> list[str]:
    """What is said of costs: nothing without a table, and no sum where no model had a price."""
    if cost is None:
        return [f"no price for {_listed(unpriced)}"] if unpriced else []
    return [f"{about} {cost:,.4f} by the price table{_without(unpriced)}"]


def _without(unpriced: Sequence[str]) -> str:
    return f", without {_listed(unpriced)}, for which there is no price" if unpriced else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def tell_estimate(estimate: Estimate) -> None:
    """Say on stdout what a run would be like."""
    lines = [
        f"{estimate.rows:,} rows for {estimate.tasks:,} results, {estimate.invalid:,} of them invalid",
        f"{estimate.prompt_tokens:,} prompt tokens, at most {estimate.most_sampled_tokens:,} sampled tokens",
    ]
    if estimate.skipped:
        lines.insert(1, f"{estimate.skipped:,} have results already and are not counted below")
    if estimate.longest is not None:
        lines.append(f"longest: {estimate.longest[0]:,} tokens, row {estimate.longest[1]!r}")
    if estimate.window_known:
        lines.append(f"{estimate.too_long:,} over the context window")
    else:
        lines.append("not checked against the context window: say --context-window, or context in the price table")
    lines += _money("at most about", estimate.cost, estimate.unpriced)
    if estimate.seconds is not None:
        lines.append(f"about {duration(estimate.seconds)}, if all answers are as long as they may be")
    else:
        lines.append("how long it takes is not known: say tokens_per_second in the price table, or a limit")
    lines += [f"{count:,} times: {problem}" for problem, count in estimate.problems]
    lines.append("nothing was sent")
    for line in lines:
        click.echo(harmless(line).replace("\n", " "))
