"""Batch inference: every row of a data set through one or several models, resumable after any kind of end.

>>> from tinkex import bulk
>>> bulk.Limits(requests_per_minute=600).adaptive
True

`run` takes a file of prompts and writes a file of results; run again, it goes on where it stopped. For engines of
other kinds: a `Task` is a row for one model, and `perform` samples tasks in this process.
"""

from __future__ import annotations

from tinkex.bulk._engine import Batch, FlowState, perform
from tinkex.bulk._estimate import Estimate, estimate, tokenizer_only
from tinkex.bulk._input.read import Source
from tinkex.bulk._input.task import InputError, InvalidRowError, Row, Task
from tinkex.bulk._limits import Limits
from tinkex.bulk._models import Models
from tinkex.bulk._output.locked_file import OutputError
from tinkex.bulk._plan import ChangedError
from tinkex.bulk._prices import Price, Prices
from tinkex.bulk._progress import Progress, Summary
from tinkex.bulk._results.accuracy import Accuracy
from tinkex.bulk._results.read import Results, read
from tinkex.bulk._results.result import Result, ResultSequence
from tinkex.bulk._run import Engine, run

__all__ = [
    "Accuracy",
    "Batch",
    "ChangedError",
    "Engine",
    "Estimate",
    "FlowState",
    "InputError",
    "InvalidRowError",
    "Limits",
    "Models",
    "OutputError",
    "Price",
    "Prices",
    "Progress",
    "Result",
    "ResultSequence",
    "Results",
    "Row",
    "Source",
    "Summary",
    "Task",
    "estimate",
    "perform",
    "read",
    "run",
    "tokenizer_only",
]


def __dir__() -> list[str]:
    return sorted(__all__)
