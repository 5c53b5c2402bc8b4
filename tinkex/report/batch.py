"""The batch report page: statistics of a scan, rendered as tiles, charts and sample rows."""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs

from tinkex.report import charts
from tinkex.report._shown import shortened
from tinkex.report.cards import cards_of
from tinkex.report.data.idle import IdleStretch, find_idle
from tinkex.report.data.scan import Scan
from tinkex.report.data.timeline import Point
from tinkex.report.frame import fill
from tinkex.report.spelling import amount, duration, figures, percent
from tinkex.report.tokens import Decode

_ERRORS: Final = 12
_MODELS: Final = 30
_PAUSES: Final = 10
_GOOD: Final = {"stop": "finished by itself", "length": "cut at max_tokens"}


@attrs.frozen
class Chart:
    """A chart with its title and caption."""

    title: str
    says: str
    drawing: Any
    wide: bool = False


def batch_page(scan: Scan, name: str, find_decoder: Callable[[str], Decode | None]) -> str:
    """Render the report page of a batch.

    Args:
        scan: Statistics of the output.
        name: Its title.
        find_decoder: Returns the decoder of a model's name, which turns its token ids into text; None shows the ids.
    """
    points = scan.timeline.points()
    pauses = find_idle(points, scan.timeline.width, scan.phases["wait"])
    cards = cards_of(scan.picked(), find_decoder, several=len(scan.models) > 1)
    errors = sorted(scan.errors.values(), key=lambda kind: -kind.count)
    most = errors[0].count if errors else 1
    return fill(
        "batch.html",
        title=f"{name}: batch report",
        name=name,
        subtitle=_subtitle(scan),
        warnings=list(_warnings(scan)),
        outcomes=_outcomes(scan),
        tiles=list(_tiles(scan, points)),
        charts=list(_charts(scan, points, pauses)),
        pauses=[_pause_line(pause, pauses) for pause in sorted(pauses, key=lambda one: -one.seconds)[:_PAUSES]],
        errors=[_error_line(kind, most) for kind in errors[:_ERRORS]],
        more_errors=len(errors[_ERRORS:]),
        models=sorted(scan.models.values(), key=lambda model: -model.rows)[:_MODELS],
        judged=scan.judged,
        cards=cards,
        cards_say=_cards_say(scan, sum(len(card.rows) for card in cards)),
        coloured=any(card.coloured for card in cards),
    )


def _subtitle(scan: Scan) -> str:
    parts = [f"{scan.rows:,} rows" + (f" of {scan.rows + scan.left_out:,}" if scan.where.wanted else "")]
    parts += [f"where {scan.where.says}"] if scan.where.wanted else []
    if len(scan.models) == 1 and (model := next(iter(scan.models))):
        parts.append(model)
    elif len(scan.models) > 1:
        parts.append(f"{len(scan.models)} models")
    if scan.timeline.points():
        parts.append(f"{_moment(scan.timeline.first)} to {_moment(scan.timeline.last)} UTC")
    return " · ".join(parts)


def _moment(seconds: float) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"


def _warnings(scan: Scan) -> Iterator[str]:
    for name in sorted(scan.where.unseen):
        yield f"No row has a column {name}."
    if not scan.rows and scan.left_out:
        yield "No row is as the filter wants it."
    elif not scan.rows:
        yield "There are no rows yet." if not scan.unreadable else "Nothing in this file is a row of a batch's output."
    if scan.unreadable:
        lines = "One line is" if scan.unreadable == 1 else f"{scan.unreadable:,} lines are"
        yield f"{lines} torn or no row, and left out."
    if scan.rows and not scan.timeline.points():
        yield "The rows in this form tell no times."


def _outcomes(scan: Scan) -> list[dict[str, Any]]:
    """Count the rows that failed and the stop reasons of the others' sequences."""
    good = scan.rows - scan.failed
    ends = scan.endings.total()
    found = [("ok", "done", good)] if not ends else []
    for style, reason in (("ok", "stop"), ("cut", "length")):
        found.append((style, _GOOD[reason], scan.endings[reason]))
    others = sum(count for reason, count in scan.endings.items() if reason not in _GOOD)
    found += [("other", "ended otherwise", others), ("failed", "failed", scan.failed)]
    whole = (ends or good) + scan.failed
    return [
        {"style": style, "says": says, "count": count, "share": percent(count, whole)}
        for style, says, count in found
        if count
    ]


def _tiles(scan: Scan, points: Sequence[Point]) -> Iterator[tuple[str, str, str]]:
    good = scan.rows - scan.failed
    yield "rows done", f"{good:,}", f"{percent(good, scan.rows)} of {scan.rows:,}"
    yield (
        "rows failed",
        f"{scan.failed:,}",
        f"{len(scan.errors)} kind{'s' * (len(scan.errors) > 1)} of error" if scan.failed else "none",
    )
    working = len(points) * scan.timeline.width
    if points:
        resumed = sum(point.resumed for point in points)
        runs = f", in {resumed + 1} runs" if resumed else ""
        yield (
            "time",
            duration(scan.timeline.last - scan.timeline.first if not resumed else working),
            f"{figures(scan.rows / working)} rows/s{runs}",
        )
    rate = f"{_unbroken(scan.sampled_tokens / working)} a second, " if points else ""
    if scan.sampled_tokens or not scan.prompt_tokens:
        yield "tokens sampled", amount(scan.sampled_tokens), f"{rate}{_unbroken(scan.prompt_tokens)} read"
    else:
        yield "tokens read", amount(scan.prompt_tokens), "none sampled"
    if scan.latency.count:
        tail = f"95 % in {duration(scan.latency.quantile(0.95))}"
        yield "median time of a row", duration(scan.latency.quantile(0.5)), tail
    yield from _likelihood_tiles(scan)
    if scan.retried:
        yield "sent more than once", f"{scan.retried:,}", f"{percent(scan.retried, scan.rows)} of the rows"


def _unbroken(number: float) -> str:
    """Format a count that stands in a line of words, which is broken elsewhere."""
    return amount(number).replace(" ", "\N{NO-BREAK SPACE}")


def _likelihood_tiles(scan: Scan) -> Iterator[tuple[str, str, str]]:
    texts = scan.perplexity.count + scan.perplexity.infinite
    if texts:
        tail = f"95 % within {figures(scan.perplexity.quantile(0.95))}"
        yield "median perplexity", figures(scan.perplexity.quantile(0.5)), tail
    if scan.impossible:
        yield "impossible texts", f"{scan.impossible:,}", f"have a token of probability zero, of {texts:,}"
    if scan.unknown:
        yield "texts not scored", f"{scan.unknown:,}", "a log-probability is not known"
    if scan.judged:
        tail = f"{percent(scan.correct_by_mean, scan.judged)} by mean log-probability, of {scan.judged:,} rows"
        yield "accuracy", percent(scan.correct, scan.judged), tail


def _charts(scan: Scan, points: Sequence[Point], pauses: Sequence[IdleStretch]) -> Iterator[Chart]:
    if points:
        shaded = [(pause.began, pause.began + pause.seconds) for pause in pauses]
        tokens = "tokens a second" if scan.sampled_tokens else "tokens read a second"
        draw = functools.partial(charts.progress, points, scan.timeline.width, shaded, tokens=tokens)
        says = f"Each step is {duration(scan.timeline.width)}; failed rows are stacked on top."
        says += " Pauses are shaded." if pauses else ""
        says += " A dashed line is where a later run went on." if any(point.resumed for point in points) else ""
        yield Chart("Progress", says, draw(across=charts.WIDE) + draw(across=charts.NARROW), wide=True)
    for title, histogram, unit, counts in (
        ("Time of a row", scan.latency, charts.SECONDS, "rows"),
        ("Tokens sampled", scan.sampled_lengths, charts.TOKENS, "sequences"),
        ("Tokens of the prompt", scan.prompt_lengths, charts.TOKENS, "rows"),
        ("Perplexity", scan.perplexity, charts.PLAIN, "sequences"),
    ):
        if histogram.count:
            says = ", ".join(
                f"{name} {unit.spell(histogram.quantile(part))}"
                for part, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            )
            says += f", most {unit.spell(math.inf if histogram.infinite else histogram.most)}"
            yield Chart(title, says, charts.distribution(histogram, unit, counts=counts))
    spent = [(name, part) for name, part in scan.phases.items() if part.count]
    if spent:
        yield Chart("Where the time went", "Median solid, 95 % pale.", charts.phases(spent))


def _pause_line(pause: IdleStretch, pauses: Sequence[IdleStretch]) -> dict[str, Any]:
    longest = max(one.seconds for one in pauses)
    part = 100 * pause.seconds / longest
    lasted = duration(pause.seconds)
    return {
        "began": duration(pause.began),
        "lasted": lasted,
        "in_flight": amount(pause.in_flight),
        "part": f"{part:.1f}",
    }


def _error_line(kind: Any, most: int) -> dict[str, Any]:
    return {
        "count": kind.count,
        "part": f"{100 * kind.count / most:.1f}",
        "kind": kind.example.kind,
        "status": kind.example.status,
        "message": shortened(kind.example.message, 500),
        "row": kind.row,
    }


def _cards_say(scan: Scan, shown: int) -> str:
    if shown == scan.rows:
        return "Every row."
    return f"{shown:,} of {scan.rows:,} rows: drawn at random, and the most remarkable ones."
