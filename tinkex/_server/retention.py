"""Memory bounds of a server: what it keeps between requests, by estimated size in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from attrs import define, field

from tinkex.types import DmelChunk, EncodedTextChunk, ImageChunk, SampleRequest, SampleResponse, TensorData

K = TypeVar("K", bound=Hashable)

#: Bytes of an entry besides its contents: its object, its index, its place in the order of eviction.
ENTRY = 1000
_NUMBER = 72  # of a token with its log-probability, as Python objects in lists
_PAIR = 150  # of an alternative with its log-probability, in a row of its own
#: Bytes of the objects that a byte of JSON can make, at most: "[]," makes a list.
JSON_GROWTH = 24


@define(eq=False)
class EvictionQueue(Generic[K]):
    """Bounded set of sized entries, of which the ones added or touched longest ago are evicted first.

    `evict` is called for each entry that has to go; `used` is the sum of the sizes in bytes, at most `limit`.
    """

    limit: int
    evict: Callable[[K], object]
    used: int = 0
    _sizes: OrderedDict[K, int] = field(factory=OrderedDict)

    def add(self, key: K, size: int) -> None:
        """Add an entry, or replace its size; evicts the oldest ones, in the end this one, until all fit."""
        self.remove(key)
        self._sizes[key] = size
        self.used += size
        while self.used > self.limit:
            oldest = next(iter(self._sizes))
            self.remove(oldest)
            self.evict(oldest)

    def grow(self, key: K, size: int) -> None:
        """Add to the size of an entry, which counts as touched."""
        self.add(key, self._sizes.get(key, 0) + size)

    def touch(self, key: K) -> None:
        """Make an entry the last to be evicted; unknown ones are ignored."""
        if key in self._sizes:
            self._sizes.move_to_end(key)

    def remove(self, key: K) -> None:
        """Remove an entry without evicting it; unknown ones are ignored."""
        self.used -= self._sizes.pop(key, 0)

    def pop_oldest(self) -> None:
        """Evict one entry."""
        oldest = next(iter(self._sizes))
        self.remove(oldest)
        self.evict(oldest)

    def clear(self) -> None:
        """Remove every entry without evicting it."""
        self._sizes.clear()
        self.used = 0

    def __contains__(self, key: K) -> bool:
        return key in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)


def request_size(request: SampleRequest) -> int:
    """Estimate the bytes of a parsed sample in memory."""
    size = 2 * ENTRY
    for chunk in request.prompt.chunks:
        match chunk:
            case EncodedTextChunk():
                size += _NUMBER * len(chunk.tokens)
            case ImageChunk():
                size += ENTRY + len(chunk.data)
            case DmelChunk():
                size += ENTRY + len(chunk.dmel)
            case _:
                size += ENTRY + len(chunk.location)
    return size + _tensor_size(request.target_prompt_logprobs)


def response_size(response: SampleResponse) -> int:
    """Estimate the bytes of a result in memory."""
    size = 2 * ENTRY
    for sequence in response.sequences:
        topk = sequence.topk_logprobs
        size += ENTRY + sequence.length * (_NUMBER + (0 if topk is None else topk.k * _PAIR))
    prompt, topk = response.prompt_logprobs, response.topk_prompt_logprobs
    size += _NUMBER * len(prompt or ()) + (0 if topk is None else topk.length * (_NUMBER + topk.k * _PAIR))
    alternatives = response.prompt_alt_tokens
    if alternatives is not None:
        size += _tensor_size(alternatives.tokens) + _tensor_size(alternatives.logprobs)
    return size + _tensor_size(response.target_prompt_logprobs)


def _tensor_size(tensor: TensorData | None) -> int:
    if tensor is None:
        return 0
    indices = (tensor.sparse_crow_indices, tensor.sparse_col_indices)
    return ENTRY + _NUMBER * (len(tensor.data) + sum(len(each or ()) for each in indices))
