"""Which tasks are to be done: what an output is asked before a row is sampled."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

from tinkex.bulk._input.task import RowId


class Verdict(enum.Enum):
    """What the file says about a task."""

    NEW = "new"
    DONE = "done"
    CHANGED = "changed"
    TWICE = "twice"


def key_of(id: RowId, model: str) -> int:
    """What tells rows apart, as a number: 128 bits, so that two never meet."""
    text = f"{type(id).__name__}{len(model)}:{model}{id}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())


class Claims(Protocol):
    """Whoever knows what was done before: see `Ledger`."""

    def claim(self, id: RowId, model: str, fingerprint: str) -> Verdict:
        """Take a task on."""

    def found(self, id: RowId, model: str) -> Mapping[str, Any]:
        """The row that is there already."""


class NoOutput:
    """Nothing was there before."""

    def __init__(self) -> None:
        self._keys: set[int] = set()

    def claim(self, id: RowId, model: str, fingerprint: str) -> Verdict:
        """Take a task on."""
        key = key_of(id, model)
        if key in self._keys:
            return Verdict.TWICE
        self._keys.add(key)
        return Verdict.NEW

    def found(self, id: RowId, model: str) -> Mapping[str, Any]:
        """Nothing is ever found."""
        raise KeyError(id)
