"""The table: medians of every case and client, and the ratio of each to the official SDK."""

from __future__ import annotations

_BASE = "tinker"
_COLUMNS = ("tinker", "tinkex", "tinkex+fast", "floor")
_NOTHING = "\\"
_IN_FLIGHT = " in flight, "  # in the name of a point of the curve


def table(record: dict, *, first_only: bool = False) -> str:
    """A reStructuredText simple table: a figure a line; in brackets its ratio to that of the official SDK.

    The short form has the first figure of each case, and leaves out the points of the curve.
    """
    rows = [("case", "figure", *_COLUMNS)]
    for case in record["cases"]:
        if first_only and _IN_FLIGHT in case["name"]:
            continue
        for index, figure in enumerate(case["figures"][: 1 if first_only else None]):
            cells = [_cell(case["medians"], subject, figure) for subject in _COLUMNS]
            rows.append((_NOTHING if index else case["name"], figure, *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = _line(["=" * width for width in widths], widths)
    head, *lines = [_line(row, widths) for row in rows]
    about = record["about"]
    words = f"Medians of {about['rounds']}; Python {about['python']}, {about['cores']} cores, {about['system']}."
    return "\n".join([rule, head, rule, *lines, rule, "", words, ""])


def _cell(medians: dict, subject: str, figure: str) -> str:
    if figure not in medians.get(subject, {}):
        return _NOTHING
    value, base = medians[subject][figure], medians.get(_BASE, {}).get(figure)
    if subject == _BASE or not base:
        return _number(value)
    return f"{_number(value)} ({value / base:.3f})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _line(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
