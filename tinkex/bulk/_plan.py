"""Planning: makes tasks of rows and leaves out those that the output has already."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex.bulk._input.claims import Claims, Verdict
from tinkex.bulk._input.prepare import find_obstacle
from tinkex.bulk._input.rows import shared_fault
from tinkex.bulk._input.task import Fingerprints, InputError, LineId, Row, Task
from tinkex.bulk._models import Models
from tinkex.bulk._progress import Tally
from tinkex.errors import TinkexError

_PEEKED: Final = 50
_NO_MODEL: Final = "The row names no model, and neither does the run."


class RowPlanner:
    """Makes the tasks of single rows: one for each model that a row goes to."""

    def __init__(self, models: Sequence[str], parameters: Mapping[str, Any]) -> None:
        self._models = models
        self._parameters = parameters
        self._fingerprints = Fingerprints()

    def tasks(self, row: Row, index: int, date: str | None = None) -> list[Task]:
        """Return the tasks of a row, numbered from *index*; what cannot be planned is the row's own error."""
        parameters = {**self._parameters, **row.parameters} if row.parameters else self._parameters
        if row.choices and parameters.get("score") is False:
            row = attrs.evolve(row, choices=(), answer=None)  # they are only carried along
        try:
            fingerprint = self._fingerprints.of(row, parameters)
        except Exception as error:  # noqa: BLE001 - an object of the caller's may do anything when it is looked at
            problem = row.problem or f"The row cannot be read: {type(error).__name__}: {error}."
            row, fingerprint = attrs.evolve(row, prompt=None, choices=(), extra={}, problem=problem), "0" * 16
        models = [row.model] if row.model else self._models
        if not models:
            models, row = [""], attrs.evolve(row, problem=row.problem or _NO_MODEL)
        return [Task(index + at, row, model, parameters, fingerprint, date) for at, model in enumerate(models)]


class ChangedError(TinkexError):
    """The output holds rows that were made with other parameters, and `changed` is "stop"."""


@attrs.define
class TaskPlan:
    """Generates the tasks of a run from its rows, lazily; each is claimed in the output before it is yielded."""

    rows: Iterable[Row]
    models: Sequence[str]
    parameters: Mapping[str, Any]
    changed: str
    tally: Tally
    opened: Models | None = None
    """For a look at the first rows, before anything is sampled: see `refuse_hopeless`. None for no look."""
    read: int = 0
    """Rows read so far."""
    claimed: int = 0
    """Tasks claimed so far."""

    def refuse_hopeless(self) -> None:
        """Raise what must fail every row, before anything is sampled: see `find_obstacle`.

        Reads rows until one can be tried, at most fifty; once.
        """
        if self.opened is None:
            return
        rows, head, obstacle = iter(self.rows), [], None
        for row in itertools.islice(rows, _PEEKED):
            head.append(row)
            found, can_be_tried = self._obstacle(row, self.opened)
            obstacle = obstacle or found
            if can_be_tried:
                break
        else:
            fault = shared_fault(head)
            if obstacle is None and fault is not None:
                obstacle = InputError(fault)
            if obstacle is not None:
                raise obstacle
        self.opened = None
        self.rows = itertools.chain(head, rows)

    def _obstacle(self, row: Row, models: Models) -> tuple[Exception | None, bool]:
        """Return what keeps a row and others from being sampled, and whether it can be tried with one of its models."""
        obstacle = None
        for model in [row.model] if row.model else self.models:
            with contextlib.suppress(Exception):  # what is wrong with this row alone says nothing of others
                found = find_obstacle(row, self.parameters, model, models)
                if found is None:
                    return None, True
                obstacle = obstacle or found
        return obstacle, False

    def tasks(self, claims: Claims) -> Iterator[Task]:
        """Yield the tasks that have no result yet.

        ChangedError for a row made with other parameters, if `changed` is "stop".
        """
        self.refuse_hopeless()
        planner = RowPlanner(self.models, self.parameters)
        date = claims.date or dt.date.fromtimestamp(SYSTEM_CLOCK.wall()).isoformat()  # noqa: DTZ012 - the user's
        for read in self.rows:
            self.read += 1
            for task in planner.tasks(read, self.claimed, date):
                verdict = claims.claim(task.row.id, task.model, task.fingerprint)
                self.claimed += 1
                if verdict is Verdict.TWICE:
                    yield _renamed(task, claims)
                elif self._is_wanted(task, verdict, claims):
                    yield task

    def _is_wanted(self, task: Task, verdict: Verdict, claims: Claims) -> bool:
        if verdict is Verdict.CHANGED and self.changed == "stop":
            raise ChangedError(_difference(task, claims.found(task.row.id, task.model)))
        if verdict is Verdict.CHANGED and self.changed == "keep":
            self.tally.kept += 1
        elif verdict is not Verdict.DONE:
            return True
        self.tally.skipped += 1
        return False


def _renamed(task: Task, claims: Claims) -> Task:
    """A task whose id is taken goes by its line, as an error; not by a number, which may be the id of a later row."""
    problem = f"The id {task.row.id!r} is that of an earlier row."
    free = LineId(f"line {task.row.number}")
    while claims.claim(free, task.model, task.fingerprint) is Verdict.TWICE:
        free = LineId(f"{free} again")
    return attrs.evolve(task, row=attrs.evolve(task.row, id=free, problem=problem))


def _difference(task: Task, found: Mapping[str, Any]) -> str:
    """Describe which parameters differ from those in the output, or that the right choice is another one."""
    before = found.get("parameters")
    told = "another prompt or parameters"
    if isinstance(before, Mapping):
        before, now = {**before, "answer": found.get("answer")}, {**task.parameters, "answer": task.row.answer}
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        told = "another prompt"
        if names:
            told = ", ".join(f"{name}={before.get(name)!r} (now {now.get(name)!r})" for name in sorted(names))
    return (
        f"The output has row {task.row.id!r} of {task.model} already, made with {told}."
        ' Say what to do with such rows, changed="redo" or changed="keep", or choose another output.'
    )
