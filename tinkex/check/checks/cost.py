"""Check of what a sample costs after many: whether a sampling session grows slower."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from tinkex.check.exact import ALPHA, binomial_at_least
from tinkex.check.result import CheckResult, fault, odds, passed, unknown

_CLEARLY: Final = 1.1


def judge_growth(old: Sequence[float], new: Sequence[float], used: int) -> CheckResult:
    """A sampling session that was used is as fast as a new one: of pairs of samples, half are slower in the old one.

    `old` and `new` are the seconds of the samples of each pair; `used` counts the samples that the old session had had.
    """
    name = "cost of many samples"
    pairs = [(one, two) for one, two in zip(old, new, strict=True) if one != two]
    if not pairs:
        return unknown(name, "no pair of samples was timed")
    slower = sum(one > two for one, two in pairs)
    p = binomial_at_least(slower, len(pairs), 0.5)
    ratio = statistics.median(old) / statistics.median(new)
    evidence = {"pairs": len(pairs), "slower": slower, "ratio": ratio, "samples_before": used}
    says = (
        f"after {used} samples, {slower} of {len(pairs)} more were slower than in a new sampling session, in the"
        f" median {ratio:.2f} times as slow ({odds(p)})"
    )
    if p >= ALPHA or ratio < _CLEARLY:
        return passed(name, says, p=p, evidence=evidence)
    return fault(
        name,
        p=p,
        says=says,
        evidence=evidence,
        means="Each sample makes the next one slower: a long run becomes slower and slower.",
        advice="Make a new sampling client every few hundred samples.",
    )
