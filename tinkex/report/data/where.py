"""Filters of a report: which rows of an output it is about, by their own columns, model, id or status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from tinkex.report.data.row import ReportRow


@attrs.define
class RowFilter:
    """Admits rows whose column has one of the wanted values, for each of the names; without names all rows.

    A name is that of a column of the caller's, else "model", "id" or "status". Values are compared as text: what is
    no text as JSON writes it, such as ``3``, ``true`` and ``null``.
    """

    wanted: Mapping[str, tuple[str, ...]]
    unseen: set[str] = attrs.field(init=False)
    """The names that no row has had so far."""

    @unseen.default
    def _unseen(self) -> set[str]:
        return set(self.wanted)

    @classmethod
    def make(cls, where: Mapping[str, object] | None) -> RowFilter:
        """Build a filter of names and values; of a list or tuple any value will do.

        Raises:
            TypeError: `where` is no mapping of names.
        """
        given = {} if where is None else where
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise TypeError("where must be a mapping of column names to values")
        values = {name: value if isinstance(value, list | tuple) else (value,) for name, value in given.items()}
        return cls({name: tuple(map(value_text, several)) for name, several in values.items()})

    def admits(self, row: ReportRow) -> bool:
        """Whether a row has all that is wanted."""
        own = {"model": row.model, "id": row.id, "status": "ok" if row.failure is None else "error", **row.columns}
        self.unseen.difference_update(own)
        return all(name in own and value_text(own[name]) in values for name, values in self.wanted.items())

    @property
    def says(self) -> str:
        """The filter in words; empty where all rows are admitted."""
        return ", ".join(f"{name} = {' or '.join(values)}" for name, values in self.wanted.items())


def value_text(value: Any) -> str:
    """Return a column's value as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
