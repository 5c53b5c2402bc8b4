from __future__ import annotations

import numpy as np
import pytest

from tinkex.local.prompt_cache import PromptCache

STATE = np.zeros(1000, np.uint8)


def put(cache, tokens, scored=True):
    """Compute a prompt: what it could take from the cache, which then keeps it."""
    tokens = np.array(tokens)
    logprobs = np.full(len(tokens), -1.0 if scored else np.nan)
    with cache.computing(tokens, logprobs, lambda known, length: length, lambda: None) as hit:
        cache.add(tokens, logprobs, hit, lambda limit: STATE if len(STATE) <= limit else None)
    return hit


def test_longest_prefix():
    """A prompt takes as much as it shares with one that was computed, from the one that shares most."""
    cache = PromptCache(10_000)
    assert put(cache, range(40)).length == 0
    assert put(cache, [*range(60), 7]).length == 40
    assert put(cache, [*range(50), *range(100)]).length == 50
    assert put(cache, range(30, 90)).length == 0


def test_short_prompts():
    """A prompt of a few tokens is shared as a long one is, down to its first token."""
    cache = PromptCache(100_000)
    put(cache, range(5))
    assert put(cache, [0, 1, 2, 3, 4, 90]).length == 5
    assert put(cache, [0, 1, 2, 70, 71, 72, 73]).length == 3
    assert put(cache, [0, 50, 51]).length == 1


def test_little_of_a_long_prompt():
    """A prompt is not restored for less than a part of 64."""
    cache = PromptCache(100_000)
    put(cache, range(640))
    assert put(cache, [*range(9), 1000]).length == 0
    assert put(cache, [*range(10), 1000]).length == 10


@pytest.mark.parametrize(("new", "kept"), [(15, 0), (16, 1)])
def test_what_is_kept(new, kept):
    """A prompt that adds little to one that is kept is not: less than 16 tokens, and no more than half of it."""
    cache = PromptCache(100_000)
    put(cache, range(40))
    put(cache, [*range(40), *range(100, 100 + new)])
    assert put(cache, [*range(40), *range(100, 100 + new), 7]).length == 40 + kept * new


def test_short_prompts_that_are_kept():
    """Of a short prompt, more than half must be new."""
    cache = PromptCache(100_000)
    for prompt, hit in (([1, 2, 3, 4], 0), ([1, 2, 8, 9], 2), ([1, 2, 8, 9], 2), ([1, 7, 8, 9], 1), ([1, 7, 8, 9], 4)):
        assert put(cache, prompt).length == hit


def test_bound():
    """Together the prompts take no more than their bytes; the one that was used longest ago goes first."""
    cache = PromptCache(5000)
    for start in (0, 100, 200):
        put(cache, range(start, start + 30))
    assert put(cache, range(31)).length == 30  # used again, and too little of it is new to be kept twice
    put(cache, range(300, 330))
    lengths = {start: put(cache, range(start, start + 31)).length for start in (0, 200, 300, 100)}
    assert lengths == {0: 30, 200: 30, 300: 30, 100: 0}


@pytest.mark.parametrize("limit", [0, 999])
def test_prompts_that_do_not_fit(limit):
    """A prompt that takes more than the bound is not kept."""
    cache = PromptCache(limit)
    assert [put(cache, range(40)).length for _ in range(2)] == [0, 0]


def test_what_cannot_be_used():
    """How much of a prefix is taken is the request's to say, by the log-probabilities that are known."""
    cache = PromptCache(10_000)
    put(cache, range(40), scored=False)
    tokens, asked = np.arange(50), []
    with cache.computing(tokens, tokens * 0.0, lambda *prefix: asked.append(prefix) or 0, lambda: None) as hit:
        assert (hit.prompt, hit.length) == (None, 0)
    assert asked[-1][1] == 40
    assert np.isnan(asked[-1][0]).all()
