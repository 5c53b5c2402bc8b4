"""Charts of the report, drawn by Altair (Vega-Lite) as static SVG.

A drawing is finished before the page is: the page needs no script, so it forbids all scripts, and hostile text has
nothing to run. Colours are the page's own CSS variables, so that a drawing follows the page between light and dark.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import altair as alt
import attrs
import vl_convert
from markupsafe import Markup

from tinkex.report.data.histogram import Histogram
from tinkex.report.data.timeline import Point
from tinkex.report.spelling import amount, duration, figures

_MARK: Final = re.compile(r'(<path aria-label="([^"]*)"[^>]*)/>')
_ROOT: Final = re.compile(r"<svg [^>]*>")
_SIZE: Final = re.compile(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"')
_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_FEW: Final = 12
_HEIGHT: Final = 130
WIDE: Final = 1060
NARROW: Final = 350


@attrs.frozen
class Unit:
    """Number format of an axis: as a Python function, and as a Vega expression."""

    spell: Callable[[float], str]
    expression: str
    step: float = 0.0  # the least width of a bar


SECONDS: Final = Unit(
    duration,
    "!datum.value ? '0' : datum.value < 1 ? format(datum.value * 1000, '~r') + ' ms' :"
    " datum.value < 60 ? format(datum.value, '~r') + ' s' :"
    " datum.value >= 3600 ? format(datum.value / 3600, '.3~r') + ' h' :"
    " floor(datum.value / 60) + (datum.value % 60 ? ':' + format(datum.value % 60, '02d') : '') + ' min'",
)
_COUNT: Final = "datum.value < 10000 ? format(datum.value, ',~r') : format(datum.value, '~s')"
TOKENS: Final = Unit(lambda number: amount(round(number)), _COUNT, 1.0)
PLAIN: Final = Unit(figures, _COUNT)


def distribution(histogram: Histogram, unit: Unit, *, counts: str = "rows") -> Markup:
    """Draw a histogram; the tooltip of a bar tells its limits and its count."""
    bars = histogram.bars(step=unit.step)
    room = max(0, (_FEW - len(bars)) / 2) * (bars[0].high - bars[0].low)  # so that one bar does not fill the picture
    scale = alt.Scale(nice=False, domain=[max(0.0, bars[0].low - room), bars[-1].high + room])
    rows = [
        {
            "low": bar.low,
            "high": bar.high,
            "count": bar.count,
            "says": f"{unit.spell(bar.low)} to {unit.spell(bar.high)}: {bar.count:,} {counts}",
        }
        for bar in bars
    ]
    axis = alt.Axis(grid=False, tickCount=5, labelExpr=unit.expression, title=None)
    x = alt.X("low:Q", scale=scale, axis=axis)
    base = alt.Chart(alt.NamedData("rows")).encode(x=x, x2="high:Q")
    drawn = base.mark_rect(color="var(--main)", aria=False, stroke="var(--card)", strokeWidth=0.8).encode(
        y=alt.Y("count:Q", axis=_left(4, least=1)), y2=alt.value(_HEIGHT)
    )
    return _svg(alt.layer(drawn, _hits(base)), NARROW, _HEIGHT, rows=rows)


def phases(spent: Sequence[tuple[str, Histogram]]) -> Markup:
    """Draw the time of each phase of a sample: the median as a solid bar, the 95th percentile as a pale one."""
    rows = [
        {
            "phase": name,
            "middle": part.quantile(0.5),
            "most": part.quantile(0.95),
            "says": f"{name}: median {duration(part.quantile(0.5))}, 95 % within {duration(part.quantile(0.95))}",
        }
        for name, part in spent
    ]
    order = [name for name, _ in spent]
    base = alt.Chart(alt.NamedData("rows")).encode(
        y=alt.Y(
            "phase:N", sort=order, axis=alt.Axis(title=None, ticks=False, domain=False, labelFontSize=12, minExtent=56)
        )
    )
    axis = alt.Axis(title=None, tickCount=4, labelExpr=SECONDS.expression)
    pale = base.mark_bar(color="var(--main)", opacity=0.3, aria=False, height=16).encode(x=alt.X("most:Q", axis=axis))
    solid = base.mark_bar(color="var(--main)", aria=False, height=16).encode(x="middle:Q")
    hits = base.mark_rect(color="transparent").encode(description="says:N")
    return _svg(alt.layer(pale, solid, hits), NARROW - 40, _HEIGHT, rows=rows)


def progress(
    points: Sequence[Point], width: float, pauses: Sequence[tuple[float, float]], *, across: int, tokens: str
) -> Markup:
    """Draw rows and tokens a second and rows in flight over time, in panels, with idle stretches shaded."""
    rows = [
        {
            "from": point.at,
            "to": point.at + width,
            "done": point.done / width,
            "all": (point.done + point.failed) / width,
            "tokens": point.tokens / width,
            "flying": point.in_flight,
            "says": _moment(point, width),
        }
        for point in points
    ]
    end = points[-1].at + width
    panel = functools.partial(_panel, end=end, across=across)
    counted = [panel(tokens, 60, (("tokens", "var(--second)"),))] if any(point.tokens for point in points) else []
    stacked = alt.vconcat(
        panel("rows a second", 90, (("all", "var(--bad)"), ("done", "var(--main)"))),
        *counted,
        panel("rows in flight", 40, (("flying", "var(--ink-3)"),), last=True),
        spacing=10,
    )
    shades = [{"from": begin, "to": stop} for begin, stop in pauses]
    resumed = [{"from": point.at} for point in points if point.resumed]
    return _svg(stacked, across, rows=rows, pauses=shades, resumed=resumed)


def _panel(
    title: str, height: int, layers: Sequence[tuple[str, str]], *, end: float, across: int, last: bool = False
) -> Any:
    """Draw one panel of stacked columns; all share a time axis, which only the last one labels."""
    step = next((step for step in _STEPS if end / step <= across / 90), end)
    ticks = [number * step for number in range(int(end / step) + 1)]
    axis = alt.Axis(values=ticks, labels=last, ticks=last, labelExpr=SECONDS.expression, title=None, grid=False)
    x = alt.X("from:Q", scale=alt.Scale(domain=[0, end], nice=False), axis=axis)
    base = alt.Chart(alt.NamedData("rows")).encode(x=x, x2="to:Q")
    pauses = alt.Chart(alt.NamedData("pauses")).mark_rect(color="var(--pause)", aria=False).encode(x=x, x2="to:Q")
    lines = alt.Chart(alt.NamedData("resumed")).mark_rule(color="var(--ink-2)", strokeDash=[4, 3], aria=False)
    columns = [
        base.mark_rect(color=colour, aria=False).encode(
            y=alt.Y(f"{name}:Q", axis=_left(3), scale=alt.Scale(domainMin=0)), y2=alt.value(height)
        )
        for name, colour in layers
    ]
    heading = alt.TitleParams(title, anchor="start", fontSize=12, fontWeight="normal", color="var(--ink-2)", offset=4)
    drawn = alt.layer(pauses, *columns, lines.encode(x=x), _hits(base))
    return drawn.properties(width=across, height=height, title=heading)


def _moment(point: Point, width: float) -> str:
    failed = f", {point.failed:,} failed" if point.failed else ""
    rates = f"{figures(point.done / width)} rows/s, {amount(point.tokens / width)} tokens/s"
    return f"after {duration(point.at)}: {rates}{failed}, {amount(point.in_flight)} in flight"


def _hits(base: Any) -> Any:
    """Draw invisible columns of full height that carry the tooltips."""
    return base.mark_rect(color="transparent").encode(description="says:N")


def _left(ticks: int, least: float = 0) -> alt.Axis:
    label = "datum.value < 1 ? format(datum.value, '~r') : format(datum.value, '~s')"
    return alt.Axis(title=None, tickCount=ticks, tickMinStep=least, labelExpr=label, domain=False, ticks=False)


def _svg(chart: Any, width: int, height: int | None = None, **data: list[dict[str, Any]]) -> Markup:
    if height is not None:
        chart = chart.properties(width=width, height=height)
    spec = chart.configure(background="transparent", padding={"left": 2, "right": 8, "top": 20, "bottom": 2})
    spec = spec.configure_view(stroke=None).configure_axis(
        labelColor="var(--ink-2)", domainColor="var(--line)", tickColor="var(--line)", gridColor="var(--line)",
        labelFontSize=11,
    )  # fmt: skip
    svg = vl_convert.vegalite_to_svg(
        json.dumps({**spec.to_dict(validate=False), "datasets": data}), allowed_base_urls=[]
    )
    sized = _SIZE.search(svg)
    assert sized is not None
    root = f'<svg xmlns="http://www.w3.org/2000/svg" {sized[0]} style="max-width:{1.15 * float(sized[1]):.0f}px">'
    tip = rf'<g class="hit">\1/><text class="tip" x="{width}" y="-6">\2</text></g>'
    return Markup(_MARK.sub(tip, _ROOT.sub(root, svg, count=1)))  # noqa: S704 - Vega escapes what it writes
