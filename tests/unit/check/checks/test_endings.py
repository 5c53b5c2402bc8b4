"""Which stops are tried, and verdicts over answers that had one."""

from __future__ import annotations

import pytest

from tinkex.check.checks.endings import judge_end_token, judge_max_tokens, judge_stop_texts, stop_id, stop_text
from tinkex.check.lab import Ask, Trial
from tinkex.types import SampledSequence, SamplingParams

PIECES = {1: "the", 2: " fox", 3: " ", 4: "", 5: "es", 6: "\ufffd", 7: "\x1b"}


def decode(tokens):
    """The text of tokens."""
    return "".join(PIECES[token] for token in tokens)


@pytest.mark.parametrize(
    ("tokens", "by_id", "by_text", "across"),
    [
        ([1, 2, 5, 1], 2, " fox", "xe"),
        ([1, 1, 2, 5, 1], 2, " fox", "e "),
        ([1, 4, 2, 5, 1], 4, " fox", "xe"),  # a token without text is no stop text, and no part of one
        ([1, 2, 4, 5, 1], 2, "es", "st"),
        ([1, 6, 6, 6, 6], 6, None, None),
        ([1, 7, 2, 5, 1], 7, " fox", "xe"),
        ([1, 1, 1, 1], None, None, None),
        ([1, 2], None, None, None),
    ],
)
def test_choice(tokens, by_id, by_text, across):
    """A stop is a token, or a text, that has not come before, and behind which the answer goes on."""
    assert stop_id(tokens) == by_id
    assert stop_text(tokens, decode, across=False) == by_text
    assert stop_text(tokens, decode, across=True) == across


def answer(tokens, reason="stop", error=None, **params):
    """An answer of at most eight tokens."""
    ask = Ask((1,), SamplingParams(**{"max_tokens": 8, **params}))
    return Trial(ask, () if error else (SampledSequence(tokens, stop_reason=reason),), None, error)


@pytest.mark.parametrize(
    ("verdict", "answers"),
    [
        ("ok", [answer([1, 2], stop=["x"])]),
        ("ok", [answer([1], stop=["x"])]),  # the stop is left out of the answer
        ("ok", [answer([1, 2], stop=["x"]), answer([], error="no", stop=["x"])]),
        ("fault", [answer([1, 2, 1], stop=["x"])]),
        ("fault", [answer([1, 2], "length", stop=["x"])]),
        ("unknown", [answer([1] * 8, "length", stop=["x"])]),
        ("unknown", [answer([], error="no", stop=["x"])]),
        ("unknown", []),
    ],
)
def test_stop(verdict, answers):
    """A fault is a token behind the stop, or a reason that denies it; answers that never came to it decide nothing."""
    assert judge_stop_texts("stop by text", answers, decode).verdict == verdict


@pytest.mark.parametrize(
    ("verdict", "answers"),
    [
        ("ok", [answer([1, 3])]),
        ("ok", [answer([1])]),
        ("ok", [answer([1]), answer([3, 1], stop=[9])]),  # told to stop elsewhere
        ("fault", [answer([1, 3, 1])]),
        ("unknown", [answer([1] * 8, "length")]),
    ],
)
def test_end(verdict, answers):
    """A fault is a token behind the end token, in an answer that was given no stops."""
    assert judge_end_token(answers, [3]).verdict == verdict


@pytest.mark.parametrize(
    ("verdict", "answers"),
    [
        ("ok", [answer([1] * 8, "length"), answer([1] * 3)]),
        ("fault", [answer([1] * 9)]),
        ("fault", [answer([1] * 7, "length")]),
        ("unknown", [answer([], error="no")]),
    ],
)
def test_length(verdict, answers):
    """A fault is an answer longer than asked for, or one that says it was cut before it was as long."""
    assert judge_max_tokens(answers).verdict == verdict
