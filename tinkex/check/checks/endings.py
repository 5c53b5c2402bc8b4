"""Checks of where answers end: stops, the end token, max_tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from tinkex.check.lab import Trial, problem
from tinkex.check.result import CheckResult, fault, passed, unknown

Decode = Callable[[list[int]], str]
_EARLY: Final = 6  # a stop is looked for in so many tokens, so that there is room behind it


def stop_id(tokens: Sequence[int]) -> int | None:
    """A token to stop at: the first one, after the beginning of an answer, that has not come before."""
    return next((tokens[n] for n in range(1, min(_EARLY, len(tokens) - 1)) if tokens[n] not in tokens[:n]), None)


def stop_text(tokens: Sequence[int], decode: Decode, *, across: bool) -> str | None:
    """A text to stop at: that of one token, or, `across`, the last letter of one with the first of the next."""
    ends = [len(decode(list(tokens[:n]))) for n in range(len(tokens) + 1)]
    whole = decode(list(tokens))
    for n in range(1, min(_EARLY, len(tokens) - 1)):
        if not ends[n] < ends[n + 1] < ends[n + 2]:
            continue  # a token without text of its own: a control token, or a part of a letter
        begin, end = (ends[n + 1] - 1, ends[n + 1] + 1) if across else (ends[n], ends[n + 1])
        text = whole[begin:end]
        if text.isprintable() and "\ufffd" not in text and whole.find(text) == begin:
            return text
    return None


def judge_stop_ids(answers: Sequence[Trial]) -> CheckResult:
    """An answer ends with the token that it was told to stop at."""
    return _judge_stops(
        "stop by token id",
        answers,
        lambda stop, tokens: tokens.index(int(stop)) if int(stop) in tokens else None,
        "Use stop texts if their check is ok, or cut the answers; the tokens behind the stop are billed.",
    )


def judge_stop_texts(name: str, answers: Sequence[Trial], decode: Decode) -> CheckResult:
    """An answer ends with the token that completes the text it was told to stop at."""

    def place(stop: str | int, tokens: list[int]) -> int | None:
        if str(stop) not in decode(tokens):
            return None
        return next(n for n in range(len(tokens)) if str(stop) in decode(tokens[: n + 1]))

    return _judge_stops(name, answers, place, "Cut the answers at the stop text; the tokens behind it are billed.")


def _judge_stops(
    name: str, answers: Sequence[Trial], place: Callable[[str | int, list[int]], int | None], advice: str
) -> CheckResult:
    """Judge answers that each had one stop; `place` says at which token an answer has it."""
    if error := problem(answers):
        return unknown(name, error)
    kept = left_out = 0
    for answer in answers:
        for sequence in answer.sequences:
            stop = (answer.ask.params.stop or ("",))[0]
            at = place(stop, sequence.tokens)
            evidence = {"stop": stop, "tokens": sequence.tokens, "stop_reason": sequence.stop_reason}
            if at is not None and at + 1 < sequence.length:
                return fault(
                    name,
                    evidence=evidence,
                    advice=advice,
                    says=f"{sequence.length - at - 1} tokens came after the stop {stop!r}",
                    means="Answers go on behind the place where they were told to stop.",
                )
            full = sequence.length == answer.ask.params.max_tokens
            if at is not None and sequence.stop_reason == "length" and not full:
                return fault(
                    name,
                    evidence=evidence,
                    advice="Do not go by stop_reason.",
                    says=f"it ended with the stop {stop!r}, and says stop_reason 'length'",
                    means="Answers that are complete count as cut off.",
                )
            kept += at is not None
            left_out += at is None and sequence.stop_reason == "stop" and not full
    if not kept + left_out:
        return unknown(name, "no answer came to its stop")
    told = "it is part of the answer" if kept else "it is left out of the answer"
    return passed(name, f"{kept + left_out} of {len(answers)} answers ended at their stops; {told}")


def judge_end_token(answers: Sequence[Trial], end_tokens: Collection[int]) -> CheckResult:
    """An answer without stops ends at the model's end token by itself."""
    name = "end token"
    ended = 0
    for answer in answers:
        if answer.ask.params.stop is not None:
            continue
        for sequence in answer.sequences:
            at = next((n for n, token in enumerate(sequence.tokens) if token in end_tokens), None)
            if at is not None and at + 1 < sequence.length:
                return fault(
                    name,
                    evidence={"tokens": sequence.tokens, "end_tokens": sorted(end_tokens)},
                    says=f"{sequence.length - at - 1} tokens came after the end token {sequence.tokens[at]}",
                    means="Answers go on after their end, up to max_tokens: what follows is something else, or noise.",
                    advice=f"Give stop=[{', '.join(map(str, sorted(end_tokens)))}] with every sample.",
                )
            ended += sequence.stop_reason == "stop" and sequence.length < (answer.ask.params.max_tokens or 0)
    if not ended:
        return unknown(name, "no answer came to its end" if end_tokens else "no end token is known: give --end-token")
    return passed(name, f"{ended} answers ended by themselves, and none went on after the end token")


def judge_max_tokens(answers: Sequence[Trial]) -> CheckResult:
    """No answer is longer than max_tokens, and only those as long say that they were cut off."""
    name = "max_tokens"
    count = 0
    for answer in answers:
        most = answer.ask.params.max_tokens or 0
        for sequence in answer.sequences:
            count += 1
            evidence = {"max_tokens": most, "length": sequence.length, "stop_reason": sequence.stop_reason}
            if sequence.length > most:
                return _too_long(f"{sequence.length} tokens came for max_tokens={most}", evidence)
            if sequence.stop_reason == "length" and sequence.length < most:
                return fault(
                    name,
                    evidence=evidence,
                    says=f"stop_reason 'length' after {sequence.length} tokens of {most}",
                    means="Answers end early and count as cut off: at a limit that the server does not tell.",
                    advice="Look for the server's own limit on tokens.",
                )
    if not count:
        return unknown(name, problem(answers) or "no answer came")
    return passed(name, f"none of {count} answers is longer than asked for")


def _too_long(says: str, evidence: dict[str, object]) -> CheckResult:
    return fault(
        "max_tokens",
        says=says,
        evidence=evidence,
        means="The server gives and bills more than is asked for; or the answer belongs to another request.",
        advice="Do not use this server for several users at once before that is explained.",
    )
