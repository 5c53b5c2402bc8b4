"""The table: medians of every case and client, and the ratio of each to the official SDK."""

from __future__ import annotations

_BASE = "tinker"
_COLUMNS = ("tinker", "tinkex", "tinkex+fast", "floor")
_FIRST = 28
_SECOND = 16
_OTHER = 18


def table(record: dict) -> str:
    """A reStructuredText simple table: a figure a line; in brackets its ratio to that of the official SDK."""
    widths = (_FIRST, _SECOND, *(_OTHER for _ in _COLUMNS))
    rule = "  ".join("=" * width for width in widths)
    lines = [rule, _line(("case", "figure", *_COLUMNS), widths), rule]
    for case in record["cases"]:
        medians = case["medians"]
        for index, figure in enumerate(case["figures"]):
            cells = [_cell(medians, subject, figure) for subject in _COLUMNS]
            lines.append(_line((case["name"] if not index else "\\", figure, *cells), widths))
    about = record["about"]
    words = f"Medians of {about['rounds']}; Python {about['python']}, {about['cores']} cores, {about['system']}."
    return "\n".join([*lines, rule, "", words, ""])


def _cell(medians: dict, subject: str, figure: str) -> str:
    if figure not in medians.get(subject, {}):
        return "\\"
    value, base = medians[subject][figure], medians.get(_BASE, {}).get(figure)
    if subject == _BASE or not base:
        return f"{value:.4g}"
    return f"{value:.4g} ({value / base:.3f})"


def _line(cells: tuple[str, ...], widths: tuple[int, ...]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
