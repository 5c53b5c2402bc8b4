"""Accuracy of scored choices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from tinkex._validation.field_docs import with_field_docs


@with_field_docs
@attrs.define
class Accuracy:
    """Accuracy over the rows that score choices and tell which one is right.

    >>> counted = Accuracy()
    >>> counted.add({"answer": 1, "correct": True, "correct_by_mean": False})
    >>> counted.add({"answer": 0, "correct": False, "correct_by_mean": False})
    >>> counted.accuracy, counted.accuracy_by_mean, counted.rows
    (0.5, 0.0, 2)
    """

    rows: int = 0
    """Rows that count, those that are undecided left out."""
    correct: int = 0
    """Rows whose likeliest choice is the right one, by the sum of its log-probabilities."""
    correct_by_mean: int = 0
    """The same by their mean per token, which favours no short choice."""
    undecided: int = 0
    """Rows of which a log-probability is not known: they count neither way."""

    @property
    def accuracy(self) -> float:
        """The share of rows that are correct; NaN without any."""
        return self.correct / self.rows if self.rows else math.nan

    @property
    def accuracy_by_mean(self) -> float:
        """The share of rows that are correct by the mean; NaN without any."""
        return self.correct_by_mean / self.rows if self.rows else math.nan

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record, if it tells the right choice."""
        if record.get("answer") is None:
            return
        if record.get("correct") is None:
            self.undecided += 1
            return
        self.rows += 1
        self.correct += bool(record["correct"])
        self.correct_by_mean += bool(record["correct_by_mean"])
