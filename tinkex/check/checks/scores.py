"""Checks of log-probabilities: of prompts, of samples, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from tinkex.check.lab import Trial, problem
from tinkex.check.result import CheckResult, fault, passed, unknown

AGREE: Final = 0.15
"""Mean distance, in nats, up to which two numbers for one token count as the same: bfloat16 makes a few hundredths."""


def judge_prompt_scores(scored: Sequence[Trial], cold: Sequence[Trial]) -> CheckResult:
    """A scored prompt has a number a token, none for the first, none above 0; the temperature changes none.

    `cold` are the same prompts, asked at a temperature of 0.5.
    """
    name = "prompt log-probabilities"
    if error := problem(scored):
        return unknown(name, error)
    for answer in scored:
        scores, length = answer.prompt_logprobs or (), len(answer.ask.prompt)
        rest = [each for each in scores[1:] if each is not None]
        if len(scores) != length or scores[0] is not None or len(rest) != length - 1 or any(s > 1e-6 for s in rest):
            return fault(
                name,
                evidence={"prompt": list(answer.ask.prompt), "logprobs": list(scores)},
                says=f"{len(scores)} numbers, {len(rest)} of them after the first, for a prompt of {length} tokens",
                means="Scores of texts belong to other tokens than it seems, or are no log-probabilities.",
                advice="Do not score texts on this server.",
            )
    apart = _mean_distance(
        [(one.prompt_logprobs or ())[1:] for one in scored], [(two.prompt_logprobs or ())[1:] for two in cold]
    )
    if apart is not None and apart > AGREE:
        return fault(
            name,
            evidence={"mean_distance": apart},
            says=f"they are other ones at temperature 0.5, by {apart:.2f} nats on average",
            means="Scores of a text depend on the temperature of a sample that is asked for with it.",
            advice="Score texts at temperature 1.",
        )
    told = "" if apart is None else "; the temperature does not change them"
    return passed(name, f"a number for each token but the first{told}", evidence={"mean_distance": apart})


def judge_agreement(name: str, sampled: Sequence[Trial], scored: Sequence[Trial], *, tempered: bool) -> CheckResult:
    """Tokens have the same log-probabilities when sampled as when the text is scored.

    `scored` are the answers to each prompt with its sample behind it; with `tempered`, the samples were not drawn at
    temperature 1.
    """
    if error := problem(sampled) or problem(scored):
        return unknown(name, error)
    ours, theirs = list[Sequence[float]](), list[Sequence[float | None]]()
    for one, two in zip(sampled, scored, strict=True):
        if one.sequences and one.sequences[0].logprobs is not None and two.prompt_logprobs is not None:
            ours.append(one.sequences[0].logprobs)
            theirs.append(two.prompt_logprobs[len(one.ask.prompt) :])
    apart = _mean_distance(ours, theirs)
    if apart is None:
        return unknown(name, "the server gives no log-probabilities of samples, or of prompts")
    count = sum(map(len, ours))
    evidence = {"tokens": count, "mean_distance": apart, "sampled": ours[:2], "scored": theirs[:2]}
    says = f"{count} tokens sampled and scored differ by {apart:.3f} nats on average"
    if apart <= AGREE:
        return passed(name, says, evidence=evidence)
    zero = tempered and all(abs(each) < 1e-3 for row in ours for each in row)
    return fault(
        name,
        says=says + ("; all that come with a sample are 0" if zero else ""),
        evidence=evidence,
        means="Log-probabilities of samples are those of the distribution that the temperature makes, not the model's."
        if tempered
        else "A text has another probability when sampled than when scored: they are of a limited"
        " distribution, or of other weights.",
        advice="Compare only numbers of one kind; for the model's own, score prompt and answer with compute_logprobs.",
    )


def _mean_distance(ours: Sequence[Sequence[float | None]], theirs: Sequence[Sequence[float | None]]) -> float | None:
    apart = [
        min(abs(one - two), 100.0) if one != two else 0.0
        for mine, other in zip(ours, theirs, strict=False)
        for one, two in zip(mine, other, strict=False)
        if one is not None and two is not None and not (math.isnan(one) or math.isnan(two))
    ]
    return math.fsum(apart) / len(apart) if apart else None
