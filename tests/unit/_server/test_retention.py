"""How much a server keeps, by estimated size."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._server.retention import EvictionQueue, response_size
from tinkex.testing import default_answer
from tinkex.types import SampleRequest, SamplingParams


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60))))
def test_the_latest_entries_stay(limit, entries):
    """What is kept never exceeds the limit, and is the longest run of latest entries that fits."""
    evicted = []
    queue = EvictionQueue(limit, evicted.append)
    model = {}
    for key, size in entries:
        queue.add(key, size)
        model.pop(key, None)
        model[key] = size
        while sum(model.values()) > limit:
            del model[next(iter(model))]
        assert queue.used == sum(model.values()) <= limit
        assert [key for key in range(10) if key in queue] == sorted(model)
    assert len(queue) == len(model)
    assert not set(evicted) - {key for key, _ in entries}


def test_what_is_in_use_goes_last():
    """An entry that was touched or has grown is evicted after those that were not."""
    evicted = []
    queue = EvictionQueue(30, evicted.append)
    for key in "abc":
        queue.add(key, 10)
    queue.touch("a")
    queue.touch("unknown")
    queue.add("d", 10)
    queue.grow("c", 5)
    assert evicted == ["b", "a"]
    queue.remove("c")
    queue.pop_oldest()
    assert (evicted, queue.used, len(queue)) == (["b", "a", "d"], 0, 0)


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    ("prompt", "params", "options"),
    [
        (10, {"max_tokens": 1}, {}),
        (10, {"max_tokens": 200}, {"num_samples": 3}),
        (10, {"max_tokens": 200}, {"topk_sample_logprobs": 5}),
        (500, {"max_tokens": 1}, {"include_prompt_logprobs": True, "topk_prompt_logprobs": 20}),
        (500, {"max_tokens": 1}, {"prompt_alt_tokens_k": 4}),
    ],
)
def test_the_size_of_a_result_is_not_underestimated(prompt, params, options):
    """A result takes no more memory than it is counted as, and no less than a fifth of that."""
    request = SampleRequest(range(5000, 5000 + prompt), SamplingParams(**params), **options)
    default_answer(request)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        results = [default_answer(request) for _ in range(3)]
        for result in results:
            result.to_dict()
        taken = (tracemalloc.get_traced_memory()[0] - before) / len(results)
    finally:
        tracemalloc.stop()
    assert taken <= response_size(results[0]) <= 5 * taken + 2000
