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
from tinkex.report.data.idle import IdleStretch, find_idle
from tinkex.report.data.row import ReportRow, ReportSequence, log_probability, read_row
from tinkex.report.data.scan import Picked, Scan
from tinkex.report.data.timeline import Point
from tinkex.report.frame import fill
from tinkex.report.spelling import amount, duration, figures, percent
from tinkex.report.tokens import Decode, Token, minus, read_tokens

_ERRORS: Final = 12
_MODELS: Final = 30
_PAUSES: Final = 10
_TOKENS: Final = 400  # of a prompt or a sequence
_CHARACTERS: Final = 3000
_SEQUENCES: Final = 4
_CHOICES: Final = 12
_GOOD: Final = {"stop": "finished by itself", "length": "cut at max_tokens"}


@attrs.frozen
class Chart:
    """A chart with its title and caption."""

    title: str
    says: str
    drawing: Any
    wide: bool = False


@attrs.frozen
class Part:
    """A prompt or a sequence on a row card: coloured tokens where they are known, else its text."""

    says: str
    tokens: Sequence[Token]
    text: str
    more: int
    prompt: bool = False


def batch_page(scan: Scan, name: str, find_decoder: Callable[[str], Decode | None]) -> str:
    """Render the report page of a batch.

    Args:
        scan: Statistics of the output.
        name: Its title.
        find_decoder: Returns the decoder of a model's name, which turns its token ids into text; None shows the ids.
    """
    points = scan.timeline.points()
    pauses = find_idle(points, scan.timeline.width, scan.phases["wait"])
    samples = [_sample(one, find_decoder, several=len(scan.models) > 1) for one in scan.picked()]
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
        samples=samples,
        samples_say=_samples_say(scan, len(samples)),
        coloured_samples=any(
            token.shade is not None for row in samples for part in row["parts"] for token in part.tokens
        ),
    )


def _subtitle(scan: Scan) -> str:
    parts = [f"{scan.rows:,} rows"]
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
    if not scan.rows:
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
    rate = f"{amount(scan.sampled_tokens / working)} a second, " if points else ""
    if scan.sampled_tokens or not scan.prompt_tokens:
        yield "tokens sampled", amount(scan.sampled_tokens), f"{rate}{amount(scan.prompt_tokens)} read"
    else:
        yield "tokens read", amount(scan.prompt_tokens), "none sampled"
    if scan.latency.count:
        tail = f"95 % in {duration(scan.latency.quantile(0.95))}"
        yield "median time of a row", duration(scan.latency.quantile(0.5)), tail
    yield from _likelihood_tiles(scan)
    if scan.retried:
        yield "sent more than once", f"{scan.retried:,}", f"{percent(scan.retried, scan.rows)} of the rows"


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
        tail = f"{percent(scan.correct_by_mean, scan.judged)} by the mean a token, of {scan.judged:,} rows"
        yield "accuracy", percent(scan.correct, scan.judged), tail


def _charts(scan: Scan, points: Sequence[Point], pauses: Sequence[IdleStretch]) -> Iterator[Chart]:
    if points:
        shaded = [(pause.began, pause.began + pause.seconds) for pause in pauses]
        draw = functools.partial(charts.progress, points, scan.timeline.width, shaded)
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


def _samples_say(scan: Scan, shown: int) -> str:
    if shown == scan.rows:
        return "Every row."
    return f"{shown:,} of {scan.rows:,} rows: drawn at random, and the most remarkable ones."


def _sample(picked: Picked, find_decoder: Callable[[str], Decode | None], *, several: bool = False) -> dict[str, Any]:
    row = read_row(picked.line)
    try:
        parts = list(_parts(row, find_decoder(row.model)))
    except Exception:  # noqa: BLE001 - another model's tokenizer: the ids are not in its vocabulary
        parts = list(_parts(row, None))
    length = row.prompt_length if row.only_scores else row.sampled_length
    says = [row.model] if several else []
    says += [_tokens(length)] if length else []
    says += [duration(row.seconds)] if row.seconds is not None else []
    says += [f"{row.attempts} attempts"] if row.attempts > 1 else []
    return {"id": row.id, "failure": row.failure, "remarks": picked.remarks, "says": " · ".join(says), "parts": parts}


def _parts(row: ReportRow, decode: Decode | None) -> Iterator[Part]:
    ids = row.prompt_ids
    if row.prompt_logprobs:
        tokens = read_tokens(ids[:_TOKENS], row.prompt_logprobs, decode, row.prompt_alternatives)
        says = "prompt" + _likelihood(row.prompt_logprobs[row.prompt_undefined :])
        yield Part(says, tokens, "", len(ids[_TOKENS:]), prompt=True)
    elif ids and decode:
        yield Part("prompt", (), shortened(decode(ids), _CHARACTERS), 0, prompt=True)
    for number, one in enumerate(row.sequences[:_SEQUENCES], 1):
        says = f"sequence {number} of {len(row.sequences)}" if len(row.sequences) > 1 else "answer"
        if one.stop_reason == "length":
            says += ", cut at max_tokens"
        yield from _sequence_parts(one, says, decode)
    for number, one in enumerate(row.choices[:_CHOICES]):
        says = f"choice {number + 1} of {len(row.choices)}"
        says += ", likeliest" * (number == row.best) + ", right" * (number == row.answer)
        yield from _sequence_parts(one, says, decode)


def _sequence_parts(one: ReportSequence, says: str, decode: Decode | None) -> Iterator[Part]:
    says += _likelihood(one.logprobs)
    tokens = list(one.tokens[:_TOKENS])
    if one.logprobs and not tokens:
        tokens = read_tokens(one.ids[:_TOKENS], one.logprobs, decode, one.alternatives)
    if one.text and not (tokens and (decode or one.tokens)):  # numbers alone say little
        yield Part(says, (), shortened(one.text, _CHARACTERS), 0)
    if tokens:
        yield Part(says, tokens, "", max(0, one.length - _TOKENS))


def _likelihood(logprobs: Sequence[float | None] | None) -> str:
    """Say the log-probability of a text, and its mean where the text has several tokens."""
    total = log_probability(logprobs)
    if total is None or not logprobs:
        return ""
    mean = f", {minus(total / len(logprobs))} a token" if len(logprobs) > 1 and total > -math.inf else ""
    return f", log p {minus(total)}{mean}"


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"
