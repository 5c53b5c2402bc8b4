"""Draws `cost.svg` and `latency.svg` (and .png) from results.json; run.py calls it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

_STYLES = {"session poller": "-", "long polls": "--"}
_COLOURS = {"tinker": "tab:orange", "tinkex": "tab:blue", "floor": "tab:grey"}


def cost(cases: list[dict], axes) -> bool:
    """CPU a sample against how many were begun at once."""
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for case in cases:
        point = re.fullmatch(r"(\d+) in flight, (.+)", case["name"])
        for subject, figures in case["medians"].items() if point else ():
            lines.setdefault((subject, point[2]), []).append((int(point[1]), figures["cpu_ms"]))
    for (subject, way), points in lines.items():
        in_flight, spent = zip(*sorted(points), strict=True)
        axes.plot(in_flight, spent, _STYLES[way], color=_COLOURS[subject], marker="o", label=f"{subject}, {way}")
    floor = [case["medians"]["floor"]["cpu_ms"] for case in cases if case["name"] == "burst of 2000"]
    for spent in floor:
        axes.axhline(spent, color=_COLOURS["floor"], linestyle=":", label="floor: no client, four threads")
    axes.set(
        xscale="log", yscale="log", xlabel="samples begun at once, 5 s each", ylabel="CPU of the client, ms a sample"
    )
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10], minor=False)
    axes.yaxis.set_minor_formatter("")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    return bool(lines)


def latency(cases: list[dict], axes) -> bool:
    """Which part of the samples took no longer than that, beyond the server's own time."""
    drawn = False
    for name, style in (("sequential", "-"), ("8 callers, 50 ms", "--")):
        for case in (case for case in cases if case["name"] == name):
            for subject, runs in case["runs"].items():
                points = sorted(each for run in runs for each in run["distribution"])
                parts = [(index + 1) / len(points) for index in range(len(points))]
                axes.plot(points, parts, style, color=_COLOURS[subject], label=f"{subject}, {name}")
                drawn = True
    axes.set(xscale="log", xlabel="ms beyond the server's own time", ylabel="part of the samples")
    axes.xaxis.set_major_formatter("{x:g}")
    return drawn


def main() -> None:
    """Draw what there are results for."""
    results = Path(sys.argv[1])
    mpl.rcParams["svg.hashsalt"] = "tinkex"  # so that the same results make the same file
    cases = json.loads((results / "results.json").read_text())["cases"]
    for draw in (cost, latency):
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        if draw(cases, axes):
            axes.grid(visible=True, which="major", alpha=0.3)
            figure.legend(fontsize="small", loc="outside upper center", ncols=3)  # wherever the lines run
            figure.savefig(results / f"{draw.__name__}.svg", metadata={"Date": None})
            figure.savefig(results / f"{draw.__name__}.png", dpi=120)


if __name__ == "__main__":
    main()
