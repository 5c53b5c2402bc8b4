"""Observations: what the checks ask a server, each part once, and when it is first needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex.check.checks import drawing, endings
from tinkex.check.checks.protocol import Reply
from tinkex.check.lab import Ask, Lab, Samples, Trial
from tinkex.check.wire import JSON, PROTOBUF, RawSession
from tinkex.types import SamplingParams

# Ids that nearly every vocabulary has. Several short prompts, since a model may be sure of its next token after one.
PROMPTS: Final = tuple(
    tuple(10 + (start * 7 + (2 * start + 3) * place * place) % 90 for place in range(12)) for start in range(12)
)
_LONG: Final = 8
_DRAWS, _PAIRS, _REPEATS, _HOT, _HOT_SAMPLES, _NARROW = 8, 4, 3, 8, 16, 16
_COST_PAIRS, _WARM_UP, _USED = 40, 3, 300
_STOPS: Final = 6
_UNSEEDED: Final = 6
_CANCELLED, _POLLED = 256, 64
_SMALL_VOCABULARY: Final = 1000


@with_field_docs
@attrs.frozen
class Cost:
    """Requests and tokens of a part, at most."""

    requests: int = 0
    """Requests, at most."""
    prompt_tokens: int = 0
    """Tokens of the prompts, at most."""
    sampled_tokens: int = 0
    """Tokens sampled, at most."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(one + two for one, two in zip(attrs.astuple(self), attrs.astuple(other), strict=True)))

    @property
    def tokens(self) -> int:
        """Tokens of both kinds."""
        return self.prompt_tokens + self.sampled_tokens


def _cost(requests: int, sampled: int = 1, length: int = len(PROMPTS[0])) -> Cost:
    return Cost(requests, requests * length, requests * sampled)


_N: Final = len(PROMPTS)
COSTS: Final[dict[str, Cost]] = {
    "greedy": _cost(_N * _REPEATS, _LONG),
    "greedy_scored": _cost(_N, length=len(PROMPTS[0]) + _LONG),
    "drawn": _cost(_N * _DRAWS, _LONG),
    "drawn_scored": _cost(_N, length=len(PROMPTS[0]) + _LONG),
    "pairs": _cost(_N * _PAIRS, 2 * _LONG),
    "hot": _cost(_HOT, _HOT_SAMPLES),
    "one_token": _cost(_N, _NARROW),
    "tiny_share": _cost(_N, _NARROW),
    "seeded": _cost(3 * _N, _LONG),
    "seeded_pairs": _cost(_N, 2 * _LONG),
    "unseeded": _cost(4 * _UNSEEDED, _LONG),
    "stopped_by_id": _cost(_STOPS, _LONG),
    "stopped_by_text": _cost(_STOPS, _LONG),
    "stopped_across": _cost(_STOPS, _LONG),
    "ended": _cost(3, 16) + _cost(2, 8 * 64),
    "over": Cost(10, 12, 1),
    "scored": _cost(3),
    "cold_scored_prompts": _cost(3),
    "cold": _cost(_N, _LONG),
    "cold_scored": _cost(_N, length=len(PROMPTS[0]) + _LONG),
    "timed": _cost(_USED + 2 * (_COST_PAIRS + _WARM_UP)),  # less where others have used the session
    "repeated": Cost(10, 24, 2),
    "polled": Cost(20, 12, _POLLED),
    "lost": Cost(1),
    "cancelled": Cost(20, 12, _CANCELLED),
    "formats": Cost(1),
    "encodings": Cost(1),
}


@attrs.define(eq=False, slots=False)
class Observations:
    """What a server was seen to do. Each property sends its samples when it is first read."""

    lab: Lab
    raw: RawSession | None = None
    """None: the protocol is not looked at."""
    another: Callable[[], Samples] | None = None
    """Makes another sampling client of the same model."""
    decode: endings.Decode | None = None
    end_tokens: tuple[int, ...] = ()
    vocabulary: int | None = None
    context: int | None = None
    """The length of the model's context; None where it is not known."""
    fills: bool = False
    """Whether a prompt may fill the context."""
    seconds: float = 30.0
    """How long a result is waited for in plain requests."""

    def _each(self, count: int = 1, num_samples: int = 1, **params: Any) -> list[list[Trial]]:
        """Ask for every prompt so many times; the answers by prompt."""
        settings = SamplingParams(**{"max_tokens": _LONG, **params})
        found = self.lab.ask(Ask(prompt, settings, num_samples) for prompt in PROMPTS for _ in range(count))
        return [found[begin : begin + count] for begin in range(0, len(found), count)]

    def _once(self, num_samples: int = 1, **params: Any) -> list[Trial]:
        return [answers[0] for answers in self._each(1, num_samples, **params)]

    def _score(self, answers: Iterable[Trial]) -> list[Trial]:
        """Score each prompt with its first sequence behind it."""
        texts = [(*each.ask.prompt, *each.tokens[0]) if each.tokens else each.ask.prompt for each in answers]
        return self.lab.ask(Ask(text, SamplingParams(max_tokens=1), scored=True) for text in texts)

    @functools.cached_property
    def greedy(self) -> list[list[Trial]]:
        """Every prompt three times at temperature 0."""
        return self._each(_REPEATS, temperature=0.0)

    @functools.cached_property
    def greedy_scored(self) -> list[Trial]:
        """The first of these answers, scored."""
        return self._score(answers[0] for answers in self.greedy)

    @functools.cached_property
    def likeliest(self) -> list[int | None]:
        """The likeliest first token after each prompt."""
        return drawing.likeliest_tokens(self.greedy)

    @functools.cached_property
    def drawn(self) -> list[list[Trial]]:
        """Every prompt eight times at temperature 1."""
        return self._each(_DRAWS)

    @functools.cached_property
    def drawn_scored(self) -> list[Trial]:
        """The first of these answers, scored."""
        return self._score(answers[0] for answers in self.drawn)

    @functools.cached_property
    def pairs(self) -> list[list[Trial]]:
        """Every prompt four times with two samples."""
        return self._each(_PAIRS, 2)

    @functools.cached_property
    def hot(self) -> list[Trial]:
        """Many first tokens after one prompt at temperature 100."""
        best = max(range(_N), key=lambda n: self.chances[n] or 0.0)
        return self.lab.ask([Ask(PROMPTS[best], SamplingParams(max_tokens=1, temperature=100.0), _HOT_SAMPLES)] * _HOT)

    @property
    def hot_likeliest(self) -> int | None:
        """The likeliest first token after that prompt."""
        return self.likeliest[PROMPTS.index(self.hot[0].ask.prompt)]

    @functools.cached_property
    def chances(self) -> list[float | None]:
        """The probability of each likeliest first token: as scored, else as it came with draws."""
        return [
            drawing.chance_of(token, len(PROMPTS[0]), scored, answers)
            for token, scored, answers in zip(self.likeliest, self.greedy_scored, self.drawn, strict=True)
        ]

    @functools.cached_property
    def one_token(self) -> list[Trial]:
        """Draws with top_k 1."""
        return self._once(_NARROW, max_tokens=1, top_k=1)

    @functools.cached_property
    def tiny_share(self) -> list[Trial]:
        """Draws with a tiny top_p."""
        return self._once(_NARROW, max_tokens=1, top_p=0.001)

    @functools.cached_property
    def seeded(self) -> list[list[Trial]]:
        """Every prompt with a seed, with the same again, and with another; at temperature 2 few coincide by chance."""
        return [self._once(seed=seed, temperature=2.0) for seed in (11, 11, 12)]

    @functools.cached_property
    def seeded_pairs(self) -> list[Trial]:
        """Every prompt with a seed and two samples."""
        return self._once(2, seed=11)

    @functools.cached_property
    def unseeded(self) -> list[list[Trial]]:
        """Some prompts without a seed, twice, each right behind a sample that has one: it is awaited, so one by one."""
        asks = (Ask(prompt, SamplingParams(max_tokens=_LONG, temperature=2.0)) for prompt in PROMPTS[:_UNSEEDED])
        seeded = SamplingParams(max_tokens=_LONG, temperature=2.0, seed=13)
        found = [(self.lab.ask([attrs.evolve(ask, params=seeded)]), self.lab.ask([ask])) for ask in asks for _ in "ab"]
        return [[free for _, (free,) in found[which::2]] for which in (0, 1)]

    @functools.cached_property
    def stopped_by_id(self) -> list[Trial]:
        """Greedy answers with a token of theirs as a stop."""
        return self._stopped(lambda tokens: None if (found := endings.stop_id(tokens)) is None else [found])

    @functools.cached_property
    def stopped_by_text(self) -> list[Trial]:
        """The same with the text of a token."""
        return self._stopped(lambda tokens: self._stop_text(tokens, across=False))

    @functools.cached_property
    def stopped_across(self) -> list[Trial]:
        """The same with a text that spans two tokens."""
        return self._stopped(lambda tokens: self._stop_text(tokens, across=True))

    def _stop_text(self, tokens: Sequence[int], *, across: bool) -> list[str] | None:
        found = None if self.decode is None else endings.stop_text(tokens, self.decode, across=across)
        return None if found is None else [found]

    def _stopped(self, choose: Callable[[Sequence[int]], Any]) -> list[Trial]:
        chosen = [(answers[0].ask.prompt, choose(answers[0].tokens[0])) for answers in self.greedy if answers[0].tokens]
        usable = [(prompt, stop) for prompt, stop in chosen if stop is not None][:_STOPS]
        return self.lab.ask(
            Ask(prompt, SamplingParams(max_tokens=_LONG, temperature=0.0, stop=stop)) for prompt, stop in usable
        )

    @functools.cached_property
    def ended(self) -> list[Trial]:
        """Answers that may come to the end token: after a pattern of it, and where it is one of few tokens."""
        asks = [
            Ask((PROMPTS[n][0], end) * 5 + PROMPTS[n][:1], SamplingParams(max_tokens=16, temperature=0.0))
            for n, end in enumerate((*self.end_tokens, *self.end_tokens, *self.end_tokens)[:3])
        ]  # fmt: skip
        if self.end_tokens and (self.vocabulary or _SMALL_VOCABULARY) < _SMALL_VOCABULARY:
            asks += [Ask(PROMPTS[n], SamplingParams(max_tokens=64, temperature=100.0), 8) for n in range(2)]
        return self.lab.ask(asks)

    @functools.cached_property
    def scored(self) -> list[Trial]:
        """Scored prompts."""
        return self.lab.ask(Ask(prompt, SamplingParams(max_tokens=1), scored=True) for prompt in PROMPTS[:3])

    @functools.cached_property
    def cold_scored_prompts(self) -> list[Trial]:
        """The same prompts, scored at temperature 0.5."""
        params = SamplingParams(max_tokens=1, temperature=0.5)
        return self.lab.ask(Ask(prompt, params, scored=True) for prompt in PROMPTS[:3])

    @functools.cached_property
    def cold(self) -> list[Trial]:
        """Every prompt at temperature 0.5."""
        return self._once(temperature=0.5)

    @functools.cached_property
    def cold_scored(self) -> list[Trial]:
        """These answers, scored."""
        return self._score(self.cold)

    @functools.cached_property
    def timed(self) -> tuple[list[float], list[float], int]:
        """Seconds of single samples in the sampling session so far, and in a new one, in turns; samples before."""
        assert self.another is not None
        ask = Ask(PROMPTS[0], SamplingParams(max_tokens=1))
        self.lab.ask([ask] * (_USED - self.lab.requests))
        before, clients = self.lab.requests, (self.lab.client, self.another())
        seconds: tuple[list[float], list[float]] = ([], [])
        for number in range(-_WARM_UP, _COST_PAIRS):
            for which in (0, 1) if number % 2 else (1, 0):
                taken = self.lab.timed(ask, clients[which])
                if number >= 0 and taken is not None:
                    seconds[which].append(taken)
        both = min(map(len, seconds))
        return seconds[0][:both], seconds[1][:both], before

    # Plain requests; `raw` is there.

    @functools.cached_property
    def repeated(self) -> tuple[Reply, Reply]:
        """A submission, twice under one number."""
        assert self.raw is not None
        replies = self.raw.submit(0, PROMPTS[0], 1), self.raw.submit(0, PROMPTS[0], 1)
        for each in {reply.request_id for reply in replies} - {None}:
            self.raw.await_result(str(each), self.seconds)
        return replies

    @functools.cached_property
    def promise(self) -> Reply:
        """The submission of a sample that takes a while."""
        assert self.raw is not None
        return self.raw.submit(1, PROMPTS[1], _POLLED)

    @functools.cached_property
    def polled(self) -> list[Reply]:
        """The polls of this sample."""
        assert self.raw is not None
        return [] if self.promise.request_id is None else self.raw.await_result(self.promise.request_id, self.seconds)

    @functools.cached_property
    def lost(self) -> Reply:
        """A poll of a request that never was."""
        assert self.raw is not None
        known = self.repeated[0].request_id or ""
        return self.raw.poll("987654321" if known.isdecimal() else "tinkex-check-no-such-request", timeout=3.0)

    @functools.cached_property
    def cancelled(self) -> tuple[Reply, list[Reply]]:
        """The cancel of a sample, and the polls after it."""
        assert self.raw is not None
        promise = self.raw.submit(2, PROMPTS[2], _CANCELLED)
        if promise.request_id is None:
            return promise, []
        cancel = self.raw.cancel(promise.request_id)
        return cancel, self.raw.await_result(promise.request_id, self.seconds)

    @functools.cached_property
    def formats(self) -> tuple[Reply, Reply]:
        """The result of this sample as protobuf, and as JSON."""
        assert self.raw is not None
        last = self.polled[-1] if self.polled else self.promise
        return self._again(PROTOBUF, "identity"), last

    @functools.cached_property
    def encodings(self) -> tuple[Reply, Reply]:
        """The result of this sample without compression, and with gzip."""
        assert self.raw is not None
        last = self.polled[-1] if self.polled else self.promise
        return last, self._again(JSON, "gzip")

    def _again(self, accept: str, encoding: str) -> Reply:
        assert self.raw is not None
        known = self.promise.request_id
        return self.promise if known is None else self.raw.poll(known, accept, encoding)

    @functools.cached_property
    def over(self) -> tuple[Reply, Reply | None]:
        """A max_tokens as long as the context, with the first token as a stop: the submission, and the last poll."""
        assert self.raw is not None
        promise = self.raw.submit(4, PROMPTS[0], self.context or 0, temperature=0.0, stop=[self.likeliest[0]])
        found = promise.request_id
        return promise, None if found is None else self.raw.await_result(found, self.seconds)[-1]

    @functools.cached_property
    def filled(self) -> tuple[Reply, int]:
        """A prompt that leaves room for eight tokens, with max_tokens 64: the last poll, and the prompt's length."""
        assert self.raw is not None
        length = max(1, (self.context or 0) - _LONG)
        promise = self.raw.submit(5, (PROMPTS[0] * (length // _N + 1))[:length], 64)
        found = promise.request_id
        return (promise if found is None else self.raw.await_result(found, self.seconds)[-1]), length
