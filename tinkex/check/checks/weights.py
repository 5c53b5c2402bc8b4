"""Checks of weights, by canary numbers: saved ones are not the base model, and stay what they were."""

from __future__ import annotations

from collections.abc import Mapping

from tinkex.check.canary import Canary, compare_canaries
from tinkex.check.result import CheckResult, fault, passed, unknown


def judge_saved(saved: Mapping[str, Canary], base: Canary | None) -> CheckResult:
    """Saved weights give other log-probabilities than the base model, and than each other."""
    name = "saved weights"
    models = {**saved, **({} if base is None else {"the base model": base})}
    if not saved or len(models) < 2:
        return unknown(name, "needs the base model, or other saved weights, to compare with")
    names = list(models)
    told = []
    for number, one in enumerate(names):
        for two in names[number + 1 :]:
            found = compare_canaries(models[one], models[two])
            if found.identical:
                return fault(
                    name,
                    evidence={"first": one, "second": two, "tokens": found.tokens},
                    says=f"{one} and {two}: {found}, to the last digit",
                    means="What is sampled are not the weights that are named: training seems to have had no effect.",
                    advice="If something was trained in between, do not sample it on this server.",
                )
            told.append(f"{one} and {two}: {found}")
    return passed(name, "; ".join(told))


def judge_same_weights(name: str, before: Mapping[str, Canary], now: Mapping[str, Canary]) -> CheckResult:
    """The same name gives the same log-probabilities as before."""
    told = []
    for model in sorted(before.keys() & now.keys()):
        try:
            found = compare_canaries(before[model], now[model])
        except ValueError as error:
            return unknown(name, f"{model}: {error}")
        if not found.same:
            return fault(
                name,
                says=f"{model}: {found}",
                evidence={"model": model, "tokens": found.tokens, "mean": found.mean, "largest": found.largest},
                means="The name leads to other weights than before: results made before and after are of two models.",
                advice="Find out which weights are meant; what was sampled since then may have to be done again.",
            )
        told.append(f"{model}: {found}")
    return passed(name, "; ".join(told)) if told else unknown(name, "nothing was kept under these names yet")
