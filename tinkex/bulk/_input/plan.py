"""Planning: makes tasks of rows and leaves out those that the output has already."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex.bulk._input.claims import Claims, Verdict
from tinkex.bulk._input.task import Fingerprints, Row, Task
from tinkex.bulk._progress import Tally
from tinkex.errors import TinkexError


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
    read: int = 0
    """Rows read so far."""
    claimed: int = 0
    """Tasks claimed so far."""

    def tasks(self, claims: Claims) -> Iterator[Task]:
        """Yield the tasks that have no result yet.

        ChangedError for a row made with other parameters, if `changed` is "stop".
        """
        fingerprints = Fingerprints()
        date = claims.date or dt.date.fromtimestamp(SYSTEM_CLOCK.wall()).isoformat()  # noqa: DTZ012 - the user's
        for row in self.rows:
            self.read += 1
            parameters = {**self.parameters, **row.parameters} if row.parameters else self.parameters
            fingerprint = fingerprints.of(row.prompt, parameters)
            for model in [row.model] if row.model else self.models or [""]:
                task = Task(self.claimed, row, model, parameters, fingerprint, date)
                if not model and row.problem is None:
                    task = _spoiled(task, "The row names no model, and neither does the run.")
                verdict = claims.claim(row.id, model, fingerprint)
                if verdict is Verdict.TWICE:
                    task = _renamed(task, claims)
                    verdict = Verdict.NEW
                self.claimed += 1
                if self._is_wanted(task, verdict, claims):
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


def _spoiled(task: Task, problem: str) -> Task:
    return attrs.evolve(task, row=attrs.evolve(task.row, problem=problem))


def _renamed(task: Task, claims: Claims) -> Task:
    """A task whose id is taken goes by its line, as an error; not by a number, which may be the id of a later row."""
    spoiled = _spoiled(task, f"The id {task.row.id!r} is that of an earlier row.")
    free = f"line {task.row.number}"
    while claims.claim(free, task.model, task.fingerprint) is Verdict.TWICE:
        free += " again"
    return attrs.evolve(spoiled, row=attrs.evolve(spoiled.row, id=free))


def _difference(task: Task, found: Mapping[str, Any]) -> str:
    """Describe which parameters differ from those in the output."""
    before, now = found.get("parameters"), task.parameters
    told = "another prompt or parameters"
    if isinstance(before, Mapping):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        told = "another prompt"
        if names:
            told = ", ".join(f"{name}={before.get(name)!r} (now {now.get(name)!r})" for name in sorted(names))
    return (
        f"The output has row {task.row.id!r} of {task.model} already, made with {told}."
        " Say what to do with such rows (changed: redo or keep), or choose another output."
    )
