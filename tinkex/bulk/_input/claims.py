"""Deduplication and resume: what an output is asked before a task is sampled."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

from tinkex.bulk._input.task import LineId, RowId


class Verdict(enum.Enum):
    """State of a task in the output."""

    NEW = "new"
    DONE = "done"
    CHANGED = "changed"
    TWICE = "twice"


def key_of(id: RowId, model: str) -> int:
    """Hash a row's id and model to the key by which a run recognises it: 128 bits, so that two never collide.

    1 and "1" are one id, since in tables ids are text; so are a character and its two surrogates, since JSON writes
    both in one way.
    """
    text = f"{'line' if type(id) is LineId else 'id'}{len(model)}:{model}{id}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-16-le", "surrogatepass"), digest_size=16).digest())


class Claims(Protocol):
    """Interface of an output that knows which tasks earlier runs have finished: see `Ledger`."""

    @property
    def date(self) -> str | None:
        """The date that prompts of the output were made with; None where none was."""

    def claim(self, id: RowId, model: str, fingerprint: str) -> Verdict:
        """Register a task, and tell its state before that."""

    def found(self, id: RowId, model: str) -> Mapping[str, Any]:
        """Return the row that the output holds."""


class NoOutput:
    """Claims on an output that was empty: finds duplicates only."""

    date: str | None = None

    def __init__(self) -> None:
        self._keys: set[int] = set()

    def claim(self, id: RowId, model: str, fingerprint: str) -> Verdict:
        """Register a task, and tell its state before that."""
        key = key_of(id, model)
        if key in self._keys:
            return Verdict.TWICE
        self._keys.add(key)
        return Verdict.NEW

    def found(self, id: RowId, model: str) -> Mapping[str, Any]:
        """Raise KeyError: no earlier run wrote here."""
        raise KeyError(id)
