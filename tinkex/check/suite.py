"""The checks in the order in which they run, each with the observations that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs

from tinkex.check.checks import cost, drawing, endings, protocol, scores, seeds
from tinkex.check.observations import COSTS, Cost, Observations
from tinkex.check.result import SKIPPED, CheckResult


@attrs.frozen
class Check:
    """One check: its name, the observations that it costs, and how it comes to a result."""

    name: str
    uses: tuple[str, ...]
    judge: Callable[[Observations], CheckResult]
    needs: Callable[[Observations], str | None] = lambda _: None
    """Why it cannot be run; None where it can."""


def _raw(seen: Observations) -> str | None:
    return "plain requests are not sent here" if seen.raw is None else seen.raw.refusal


def _text(seen: Observations) -> str | None:
    return "needs a tokenizer: give --tokenizer" if seen.decode is None else None


def _draws(seen: Observations) -> CheckResult:
    return drawing.judge_drawing("temperature 1", seen.likeliest, seen.chances, seen.drawn)


def _draws_of_two(seen: Observations) -> CheckResult:
    return drawing.judge_drawing("temperature 1, two samples", seen.likeliest, seen.chances, seen.pairs)


def _temperature(seen: Observations) -> CheckResult:
    return drawing.judge_temperature(seen.hot_likeliest, seen.hot)


def _short(seen: Observations) -> str | None:
    """What a max_tokens as long as the context needs: that this is known, and a stop that ends the answer."""
    if why := _raw(seen) or (None if seen.context else "the context is not known: give --context-length"):
        return why
    stops = endings.judge_stop_ids(seen.stopped_by_id)
    return None if stops.verdict == "ok" and seen.likeliest[0] is not None else "needs stops by token id"


def _context(seen: Observations) -> str | None:
    return _raw(seen) if seen.fills else "give --context-length; it costs a prompt of that length"


_SURE: Final = ("greedy", "greedy_scored", "drawn")
CHECKS: Final = (
    Check("temperature 0", ("greedy", "drawn", "pairs"), lambda seen: drawing.judge_greedy(
        seen.greedy, seen.drawn, seen.pairs)),
    Check("temperature 1", _SURE, _draws),
    Check("temperature 1, two samples", (*_SURE, "pairs"), _draws_of_two),
    Check("two samples differ", ("pairs",),
          lambda seen: seeds.judge_spread("two samples differ", [each for row in seen.pairs for each in row])),
    Check("temperature 100", (*_SURE, "hot"), _temperature),
    Check("top_k -1", (*_SURE, "hot"), lambda seen: drawing.judge_all_tokens(
        seen.hot, _temperature(seen), min(seen.vocabulary or drawing.FEWEST_TOKENS, drawing.FEWEST_TOKENS))),
    Check("top_k 1", (*_SURE, "one_token"), lambda seen: drawing.judge_narrow(
        "top_k 1", seen.likeliest, seen.chances, [[each] for each in seen.one_token])),
    Check("top_p", (*_SURE, "tiny_share"), lambda seen: drawing.judge_narrow(
        "top_p", seen.likeliest, seen.chances, [[each] for each in seen.tiny_share])),
    Check("seed", ("seeded",), lambda seen: seeds.judge_seed(*seen.seeded)),
    Check("samples without a seed", ("unseeded",), lambda seen: seeds.judge_unseeded(*seen.unseeded)),
    Check("two samples of one seed", ("seeded_pairs",),
          lambda seen: seeds.judge_spread("two samples of one seed", seen.seeded_pairs)),
    Check("stop by token id", ("greedy", "stopped_by_id"), lambda seen: endings.judge_stop_ids(seen.stopped_by_id)),
    Check("stop by text", ("greedy", "stopped_by_text"),
          lambda seen: endings.judge_stop_texts("stop by text", seen.stopped_by_text, seen.decode or repr), _text),
    Check("stop across tokens", ("greedy", "stopped_across"),
          lambda seen: endings.judge_stop_texts("stop across tokens", seen.stopped_across, seen.decode or repr), _text),
    Check("end token", ("ended",), lambda seen: endings.judge_end_token(
        [*seen.ended, *seen.lab.answers], seen.end_tokens)),
    Check("max_tokens over the context", ("greedy", "stopped_by_id", "over"),
          lambda seen: protocol.judge_long(*seen.over, seen.context or 0), _short),
    Check("context", (), lambda seen: protocol.judge_context(*seen.filled, seen.context or 0), _context),
    Check("prompt log-probabilities", ("scored", "cold_scored_prompts"),
          lambda seen: scores.judge_prompt_scores(seen.scored, seen.cold_scored_prompts)),
    Check("sampled and scored alike", ("drawn", "drawn_scored"), lambda seen: scores.judge_agreement(
        "sampled and scored alike", [row[0] for row in seen.drawn], seen.drawn_scored, tempered=False)),
    Check("log-probabilities at temperature 0.5", ("cold", "cold_scored"), lambda seen: scores.judge_agreement(
        "log-probabilities at temperature 0.5", seen.cold, seen.cold_scored, tempered=True)),
    Check("log-probabilities at temperature 0", ("greedy", "greedy_scored"), lambda seen: scores.judge_agreement(
        "log-probabilities at temperature 0", [row[0] for row in seen.greedy], seen.greedy_scored, tempered=True)),
    Check("repeated submission", ("repeated",), lambda seen: protocol.judge_repeat(*seen.repeated), _raw),
    Check("request ids", ("repeated", "polled"), lambda seen: protocol.judge_ids(
        list(dict.fromkeys(each for reply in (*seen.repeated, seen.promise) if (each := reply.request_id)))), _raw),
    Check("long polls", ("polled",), lambda seen: protocol.judge_polls(seen.polled), _raw),
    Check("unknown request", ("repeated", "lost"), lambda seen: protocol.judge_lost(seen.lost), _raw),
    Check("cancel", ("cancelled",), lambda seen: protocol.judge_cancel(*seen.cancelled), _raw),
    Check("formats", ("polled", "formats"), lambda seen: protocol.judge_formats(*seen.formats), _raw),
    Check("compression", ("polled", "encodings"), lambda seen: protocol.judge_compression(*seen.encodings), _raw),
    Check("cost of many samples", ("timed",), lambda seen: cost.judge_growth(*seen.timed),
          lambda seen: None if seen.another else "needs a second sampling session"),
    Check("max_tokens", (), lambda seen: endings.judge_max_tokens(seen.lab.answers)),
)  # fmt: skip
NAMES: Final = tuple(check.name for check in CHECKS)


def total_cost(checks: Iterable[Check]) -> Cost:
    """What some checks cost at most; observations that several of them use are made once."""
    return sum((COSTS[name] for name in {name for check in checks for name in check.uses}), Cost())


def affordable(checks: Sequence[Check], tokens: float) -> list[Check]:
    """The checks that fit into so many tokens, those in front first."""
    chosen = list[Check]()
    for check in checks:
        if total_cost([*chosen, check]).tokens <= tokens:
            chosen.append(check)
    return chosen


def run_check(check: Check, seen: Observations) -> CheckResult:
    """Run one check, unless something that it needs is missing."""
    why = check.needs(seen)
    return check.judge(seen) if why is None else CheckResult(name=check.name, verdict=SKIPPED, says=why)
