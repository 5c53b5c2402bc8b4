"""The page of a check of a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tinkex.report.frame import fill
from tinkex.report.spelling import amount, duration

_HEADINGS: Final = {
    "fault": "Faults: what it does otherwise than it is asked to",
    "absent": "Absent: what clients can do without",
    "unknown": "Unknown: what the evidence does not decide",
    "skipped": "Skipped",
    "ok": "As it should be",
}


def check_page(report: Mapping[str, Any]) -> str:
    """Render the page of one check."""
    groups = {verdict: [each for each in report["results"] if each["verdict"] == verdict] for verdict in _HEADINGS}
    tokens = f"{amount(report['prompt_tokens'])} of prompts, {amount(report['sampled_tokens'])} sampled"
    tiles = [
        ("faults", f"{len(groups['fault'])}", f"of {len(report['results'])} checks"),
        ("as it should be", f"{len(groups['ok'])}", f"{len(groups['absent'])} absent"),
        ("requests", f"{report['requests']:,}", tokens),
        ("took", duration(report["seconds"]), f"{len(groups['unknown']) + len(groups['skipped'])} not decided"),
    ]
    sections = [(_HEADINGS[verdict], verdict, found) for verdict, found in groups.items() if found]
    return fill(
        "check.html", title=f"Check of {report['model']}", server=report["server"], tiles=tiles, sections=sections,
        as_json=lambda value: json.dumps(value, ensure_ascii=False, default=str),
    )  # fmt: skip
