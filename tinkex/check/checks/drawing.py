"""Checks of how tokens are drawn: temperature, number of samples, top_k, top_p; by the first token of each answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tinkex.check.exact import ALPHA, binomial_at_least, distinct_at_most, hits_at_least, hits_at_most
from tinkex.check.lab import Trial, problem
from tinkex.check.result import CheckResult, fault, odds, passed, unknown

FLIPS: Final = 0.05
"""Share of prompts whose likeliest first token may change from call to call: near ties, and rounding in batches."""
LONG_FLIPS: Final = 0.15
"""The same for a whole short answer."""
FEWEST_TOKENS: Final = 200
"""Vocabulary that every model is taken to have at least."""
_POWER: Final = 0.999  # how surely a fault must have shown, before its absence is believed
_NOISE: Final = 0.3  # nats; two roundings to bfloat16 make up to a quarter


def first_tokens(answers: Sequence[Trial]) -> list[int]:
    """The first token of each sequence."""
    return [tokens[0] for answer in answers for tokens in answer.tokens if tokens]


def likeliest_tokens(greedy: Sequence[Sequence[Trial]]) -> list[int | None]:
    """For each prompt, the first token that temperature 0 gives most often; None where there is none."""
    counts = [Counter(first_tokens(answers)).most_common(1) for answers in greedy]
    return [found[0][0] if found else None for found in counts]


def chance_of(token: int | None, place: int, scored: Trial, drawn: Sequence[Trial]) -> float | None:
    """The probability of a first token, at `place`: as scored behind its prompt, else as it came with a draw."""
    if scored.prompt_logprobs is not None and scored.ask.prompt[place : place + 1] == (token,):
        logprob = scored.prompt_logprobs[place]
    else:
        sequences = (sequence for answer in drawn for sequence in answer.sequences if sequence.logprobs)
        logprob = next((each.logprobs[0] for each in sequences if each.logprobs and each.tokens[0] == token), None)
    return None if logprob is None or math.isnan(logprob) else math.exp(min(0.0, logprob))


def judge_greedy(greedy: Sequence[Sequence[Trial]], *draws: Sequence[Sequence[Trial]]) -> CheckResult:
    """Temperature 0 repeats itself, and takes the likeliest token: none drawn at temperature 1 is clearly likelier.

    Each of the `draws` is compared within itself: a server may score different kinds of draws differently.
    """
    name = "temperature 0"
    if error := problem([answer for answers in greedy for answer in answers]):
        return unknown(name, error)
    prompts = len(greedy)
    first = sum(len(set(first_tokens(answers))) > 1 for answers in greedy)
    whole = sum(len({tuple(tokens) for answer in answers for tokens in answer.tokens}) > 1 for answers in greedy)
    p = min(binomial_at_least(first, prompts, FLIPS), binomial_at_least(whole, prompts, LONG_FLIPS))
    evidence = {
        "prompts": prompts,
        "repeats": len(greedy[0]),
        "first_differs": first,
        "answer_differs": whole,
        "first_tokens": [first_tokens(answers) for answers in greedy],
    }
    if p < ALPHA:
        return fault(
            name,
            p=p,
            evidence=evidence,
            says=f"of {prompts} prompts asked {len(greedy[0])} times each, {first} had other first tokens and"
            f" {whole} other answers the next time ({odds(p)})",
            means="Temperature 0 is drawn at random: evaluations do not repeat, and answers are not the model's best.",
            advice="Use top_k=1 if that check is ok, or a seed; otherwise draw several and keep the likeliest.",
        )
    better = max((_likelier(greedy, drawn) for drawn in draws), key=len, default=[])
    if better:
        return fault(
            name,
            evidence={**evidence, "likelier": better},
            says=f"it repeats, but for {len(better)} of {prompts} prompts temperature 1 drew a token that is likelier"
            f" by the server's own numbers, e.g. {better[0]['drawn']} at {better[0]['logprob']:.2f} against"
            f" {better[0]['greedy']} at {better[0]['greedy_logprob']:.2f}",
            means="Temperature 0 does not take the likeliest token.",
            advice="Use top_k=1 if that check is ok.",
        )
    noise = f"; {whole} answers changed in a later token, as rounding does" if whole else ""
    return passed(
        name,
        f"{prompts} prompts asked {len(greedy[0])} times: the same likeliest tokens{noise}",
        p=p,
        evidence=evidence,
    )


def _likelier(greedy: Sequence[Sequence[Trial]], drawn: Sequence[Sequence[Trial]]) -> list[dict[str, float]]:
    """The prompts for which a drawn token is clearly likelier than the greedy one, both scored by the same draws."""
    found = []
    for best, answers in zip(likeliest_tokens(greedy), drawn, strict=True):
        scores = {
            each.tokens[0]: each.logprobs[0]
            for answer in answers
            for each in answer.sequences
            if each.tokens and each.logprobs
        }
        if best not in scores:
            continue
        top = max(scores, key=lambda token: scores[token])
        if scores[top] > scores[best] + _NOISE:
            found.append({"greedy": best, "greedy_logprob": scores[best], "drawn": top, "logprob": scores[top]})
    return found


def judge_drawing(
    name: str,
    likeliest: Sequence[int | None],
    chances: Sequence[float | None],
    drawn: Sequence[Sequence[Trial]],
) -> CheckResult:
    """Temperature 1 draws the likeliest first token as often as its probability says.

    `chances` are the probabilities of the likeliest tokens as the server scores them in a prompt. The number of hits
    has a Poisson binomial distribution, exactly.
    """
    if error := problem([answer for answers in drawn for answer in answers]):
        return unknown(name, error)
    hits, expected = 0, list[float]()
    for token, chance, answers in zip(likeliest, chances, drawn, strict=True):
        firsts = first_tokens(answers)
        if token is not None and chance is not None:
            hits += firsts.count(token)
            expected += [min(1.0, chance)] * len(firsts)
    evidence = {"draws": len(expected), "likeliest_drawn": hits, "expected": round(sum(expected), 2)}
    if not expected:
        return unknown(
            name, "the server scores no prompts, so that there is nothing to compare with", evidence=evidence
        )
    if hits_at_least(len(expected), expected) > ALPHA / 2:
        return unknown(
            name,
            f"the model is too sure of its next tokens: {sum(expected):.1f} of {len(expected)} draws"
            " would be the likeliest one by chance as well",
            evidence=evidence,
        )
    more, fewer = hits_at_least(hits, expected), hits_at_most(hits, expected)
    p = min(1.0, 2 * min(more, fewer))
    says = (
        f"the likeliest first token came {hits} times in {len(expected)} draws, {sum(expected):.1f} expected"
        f" ({odds(p)})"
    )
    if p >= ALPHA:
        return passed(name, says, p=p, evidence=evidence)
    greedy = hits == len(expected)
    return fault(
        name,
        p=p,
        says=says,
        evidence=evidence,
        means="Temperature 1 is greedy: every answer to a prompt is the same one, so that several to choose from, or"
        " rewards over a group of them, are worth one."
        if greedy
        else "Draws are not from the model's distribution: " + ("sharper." if more < fewer else "flatter."),
        advice="Ask with num_samples of at least 2 if that check is ok; else another server."
        if greedy
        else "Do not weigh samples by their log-probabilities, as reinforcement learning does.",
    )


def judge_temperature(token: int | None, hot: Sequence[Trial]) -> CheckResult:
    """A high temperature makes tokens nearly equally likely: the likeliest one becomes rare."""
    name = "temperature 100"
    firsts = first_tokens(hot)
    if error := problem(hot):
        return unknown(name, error)
    if token is None or not firsts:
        return unknown(name, "there is no first token to look for")
    hits = firsts.count(token)
    p = binomial_at_least(hits, len(firsts), 0.05)
    evidence = {"draws": len(firsts), "likeliest_drawn": hits, "distinct": len(set(firsts))}
    says = f"the likeliest first token came {hits} times in {len(firsts)} draws ({odds(p)})"
    if p >= ALPHA:
        return passed(name, says, p=p, evidence=evidence)
    return fault(
        name,
        p=p,
        says=says,
        evidence=evidence,
        means="The temperature is not applied, or bounded: raising it does not make answers more varied.",
        advice="Vary the prompts instead.",
    )


def judge_all_tokens(hot: Sequence[Trial], temperature: CheckResult, vocabulary: int = FEWEST_TOKENS) -> CheckResult:
    """With top_k -1 every token can come: at a high temperature, draws show far more than a few dozen."""
    name = "top_k -1"
    firsts = first_tokens(hot)
    if error := problem(hot):
        return unknown(name, error)
    if temperature.verdict != "ok":
        return unknown(name, "it shows at a high temperature only, which is not applied here")
    distinct = len(set(firsts))
    p = distinct_at_most(distinct, len(firsts), vocabulary)
    evidence = {"draws": len(firsts), "distinct": distinct, "tokens": sorted(set(firsts))[:100]}
    says = f"{len(firsts)} draws at temperature 100 showed {distinct} different tokens ({odds(p)})"
    if p >= ALPHA:
        return passed(name, says, p=p, evidence=evidence)
    return fault(
        name,
        p=p,
        says=says,
        evidence=evidence,
        means="top_k -1 is a limit in fact: rare tokens never come, and log-probabilities of draws may be those of the"
        " limited distribution.",
        advice="Give a top_k as large as the vocabulary, and look whether that is taken.",
    )


def judge_narrow(
    name: str,
    likeliest: Sequence[int | None],
    chances: Sequence[float | None],
    drawn: Sequence[Sequence[Trial]],
) -> CheckResult:
    """A top_k of 1, or a tiny top_p, leaves the likeliest token only, whatever the temperature.

    `chances` are the probabilities of the likeliest tokens: they tell whether others would have come without the limit.
    """
    if error := problem([answer for answers in drawn for answer in answers]):
        return unknown(name, error)
    rows = [
        (token, chance, first_tokens(answers))
        for token, chance, answers in zip(likeliest, chances, drawn, strict=True)
        if token is not None
    ]
    others = sum(any(each != token for each in firsts) for token, _, firsts in rows)
    p = binomial_at_least(others, len(rows), FLIPS)
    evidence = {"prompts": len(rows), "other_tokens": others, "first_tokens": [firsts for *_, firsts in rows]}
    says = f"for {others} of {len(rows)} prompts another token than the likeliest came ({odds(p)})"
    if p < ALPHA:
        return fault(
            name,
            p=p,
            says=says,
            evidence=evidence,
            means=f"{name} is not applied: answers wander as if it had not been given.",
            advice="Use temperature instead, if its checks are ok.",
        )
    needed = next((n for n in range(len(rows) + 1) if binomial_at_least(n, len(rows), FLIPS) < ALPHA), len(rows) + 1)
    without = [1.0 if chance is None else 1 - min(1.0, chance) ** len(firsts) for _, chance, firsts in rows]
    if hits_at_least(needed, without) < _POWER:
        return unknown(name, f"{says}; but the model is so sure that few would come without it", evidence=evidence)
    return passed(name, says, p=p, evidence=evidence)
