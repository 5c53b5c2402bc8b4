"""Random draws of rows in one pass: the same ids in every file, so that what belongs together is drawn together."""

from __future__ import annotations

import hashlib
import heapq
from typing import Final

import attrs

_BESIDE: Final = 8  # rows of one id


@attrs.frozen
class Picked:
    """A row chosen for display, as its line, and why: no remarks for one drawn at random."""

    number: int
    line: bytes
    remarks: tuple[str, ...] = ()


class IdSample:
    """A random sample of so many ids, with the last row of each model; in bounded memory, and not thread-safe.

    Those ids are drawn whose hashes are the least. All rows of an id have one hash, so that once drawn it is complete,
    and once dropped it never comes back.
    """

    def __init__(self, most: int) -> None:
        self.rows: dict[str, dict[str, Picked]] = {}
        self._most = most
        self._ranks: list[tuple[int, str]] = []  # a heap: the greatest hash, negative, stands first

    def add(self, row_id: str, model: str, picked: Picked) -> None:
        """Add a row; one without an id is an id of its own."""
        key = row_id or f"line {picked.number}"
        if key not in self.rows:
            digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            entry = -int.from_bytes(digest, "big"), key
            if len(self._ranks) < self._most:
                heapq.heappush(self._ranks, entry)
            elif self._ranks and entry > self._ranks[0]:
                del self.rows[heapq.heapreplace(self._ranks, entry)[1]]
            else:
                return
        rows = self.rows.setdefault(key, {})
        if model in rows or len(rows) < _BESIDE:
            rows[model] = picked
