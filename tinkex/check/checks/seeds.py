"""Checks of seeds: whether they repeat an answer, and whether sequences and seeds differ."""

from __future__ import annotations

from collections.abc import Sequence

from tinkex.check.checks.drawing import LONG_FLIPS
from tinkex.check.exact import ALPHA, binomial_at_least, repeated_by_chance
from tinkex.check.lab import Trial, problem
from tinkex.check.result import CheckResult, fault, odds, passed, unknown


def judge_seed(first: Sequence[Trial], again: Sequence[Trial], other: Sequence[Trial]) -> CheckResult:
    """The same seed gives the same answer again, and another seed another one."""
    name = "seed"
    pairs = [(one.tokens[0], two.tokens[0]) for one, two in zip(first, again, strict=True) if one.tokens and two.tokens]
    if not pairs:
        return unknown(name, problem([*first, *again]) or "there are no two answers to compare")
    differ = sum(one != two for one, two in pairs)
    p = binomial_at_least(differ, len(pairs), LONG_FLIPS)
    evidence = {"prompts": len(pairs), "differ": differ, "tokens": pairs[:3]}
    if p < ALPHA:
        return fault(
            name,
            p=p,
            evidence=evidence,
            says=f"{differ} of {len(pairs)} answers were others when asked again with the same seed ({odds(p)})",
            means="Seeds do not repeat an answer: a run cannot be done again.",
            advice="Keep the answers themselves; use temperature 0 where its check is ok.",
        )
    constant = _chance_of_equality(first, other)
    if constant is not None and constant < ALPHA:
        return fault(
            name,
            p=constant,
            evidence=evidence,
            says=f"all {len(pairs)} answers were the same with another seed ({odds(constant)} by chance)",
            means="Any seed gives the same answers: asking with several seeds gives one answer several times.",
            advice="Leave the seed out where several answers are wanted.",
        )
    if differ:
        return unknown(
            name,
            f"{differ} of {len(pairs)} answers were others when asked again: rounding can do that",
            p=p,
            evidence=evidence,
        )
    told = "" if constant is None else "; another seed gave others"
    return passed(name, f"{len(pairs)} answers came again, token for token{told}", p=p, evidence=evidence)


def judge_unseeded(first: Sequence[Trial], again: Sequence[Trial]) -> CheckResult:
    """What has no seed is drawn afresh, also behind a sample that has one."""
    name = "samples without a seed"
    pairs = [(one.tokens[0], two.tokens[0]) for one, two in zip(first, again, strict=True) if one.tokens and two.tokens]
    if not pairs:
        return unknown(name, problem([*first, *again]) or "there are no two answers to compare")
    differ = sum(one != two for one, two in pairs)
    evidence = {"prompts": len(pairs), "differ": differ, "tokens": pairs[:3]}
    if differ:
        says = f"{differ} of {len(pairs)} answers were others when asked again, each behind a sample with the same seed"
        return passed(name, says, evidence=evidence)
    p = _chance_of_equality(first, again)
    if p is None or p >= ALPHA:
        says = "all answers were the same when asked again, as may be chance: the model is sure of its tokens"
        return unknown(name, says, p=p, evidence=evidence)
    return fault(
        name,
        p=p,
        evidence=evidence,
        says=f"all {len(pairs)} answers were the same again, each behind a sample with one seed ({odds(p)} by chance)",
        means="The seed of one request decides what the next draws, also that of another client, or nothing is drawn.",
        advice="Give each sample a seed of its own, if the check of seeds is ok.",
    )


def judge_spread(name: str, answers: Sequence[Trial]) -> CheckResult:
    """The sequences of one request differ."""
    usable = [answer for answer in answers if len(answer.tokens) > 1]
    if not usable:
        return unknown(name, problem(answers) or "no answer had two sequences")
    same = [answer for answer in usable if len({tuple(tokens) for tokens in answer.tokens}) == 1]
    evidence = {"requests": len(usable), "same": len(same), "tokens": [answer.tokens for answer in usable[:3]]}
    if len(same) < len(usable):
        return passed(name, f"in {len(usable) - len(same)} of {len(usable)} requests they differ", evidence=evidence)
    p = _chance_of_equality(usable, usable)
    if p is None or p >= ALPHA:
        return unknown(
            name, "all are the same, as may be chance: the model is sure of its tokens", p=p, evidence=evidence
        )
    return fault(
        name,
        p=p,
        evidence=evidence,
        says=f"in all {len(usable)} requests the sequences were the same ({odds(p)} by chance)",
        means="Several sequences of one request are one sequence several times, and are billed several times.",
        advice="Send a request for each, with seeds of their own or none.",
    )


def _chance_of_equality(first: Sequence[Trial], other: Sequence[Trial]) -> float | None:
    """How probable it is that all answers repeat by chance; 1 where one differs, None where nothing tells it."""
    scores = []
    for one, two in zip(first, other, strict=True):
        if not one.tokens or not two.tokens:
            continue
        if one.tokens[0] != two.tokens[-1]:
            return 1.0
        if one.sequences[0].logprobs is None:
            return None
        scores.append(one.sequences[0].logprobs)
    return repeated_by_chance(scores) if scores else None
