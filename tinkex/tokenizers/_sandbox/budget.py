"""Budget of one rendering: bytes that its operations may make, size of any one value, CPU time of its thread.

No operation of a template can be interrupted, so each is bounded beforehand: it takes time and memory in proportion to
the values it is given and makes, and these are bounded. A value's *weight* is its size in bytes with all that it refers
to, counted once for each reference, as an operation meets it: a list that holds another one twice weighs twice as much.
What was given to the template has no bound of its own, but widens the budget.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Final, NamedTuple

from jinja2.exceptions import SecurityError

from tinkex._concurrency.clock import thread_seconds

_MADE: Final = 16 * 2**20  # bytes, besides those by what was given
_MADE_BY_BYTE: Final = 64
_SECONDS: Final = 0.5
_SECONDS_BY_BYTE: Final = 2e-6
_DEEPEST: Final = 100  # containers in containers, besides what was given
_OPERATIONS: Final = 32  # between two looks at the time
_LARGE: Final = 16  # bits of a size that counts as further operations
_STEPS: Final = 6  # bits of a number of steps, each a character or item looked at, that counts as further operations
_SCALAR: Final = 64  # bytes of a number, or of anything else that holds nothing
_CONTAINER: Final = 256  # bytes of a container, with what is noted about it
_SLOT: Final = 8


class Measured(NamedTuple):
    """A container, how much it weighs, and how deeply it is nested."""

    container: Any  # also keeps it from being replaced by another of its id
    weight: int
    depth: int


class Budget:
    """What is left for one rendering, or compilation, in one thread.

    `charge` counts bytes that were made, `check` raises beforehand where there would be too many; `register` notes the
    weight of a container that the template made. All raise SecurityError.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._ends = timer() + _SECONDS
        self._limit = _MADE
        self._made = 0
        self._operations = 0
        self._next_look = _OPERATIONS
        self._given: Any = None
        self._measured: dict[int, Measured] = {}
        self._depth_of_given = 0
        self.heaviest = _MADE

    def give(self, values: Mapping[str, Any]) -> None:
        """Tell what the template is given; it is measured once the budget would be used up without it."""
        self._given = values

    def charge(self, size: int, steps: int = 0) -> None:
        """Count one operation, the bytes it made, and the steps it takes: with many, the time is looked at first."""
        self._made += size
        self._operations += 1 + (size >> _LARGE) + (steps >> _STEPS)
        if self._made > self._limit or self._operations >= self._next_look:
            self._look(0)

    def check(self, size: int) -> None:
        """Refuse to make so many more bytes than there are left."""
        if self._made + size > self._limit:
            self._look(size)

    def register(self, container: Any, weight: int | None = None, depth: int = 1) -> None:
        """Count a container that was made, and note what it weighs; None has it measured."""
        self.charge(_CONTAINER + container.__sizeof__(), len(container))
        found = self._measure(container) if weight is None else Measured(container, weight, depth)
        self._measured[id(container)] = found
        if found.weight > self.heaviest or found.depth > _DEEPEST:
            self._widen()
            if found.weight > self.heaviest:
                raise SecurityError(f"it makes a value of more than {self.heaviest:,} bytes")
            if found.depth > _DEEPEST + self._depth_of_given:
                raise SecurityError(f"it nests values more than {_DEEPEST} deep")

    def registered(self, value: Any) -> Measured | None:
        """Return what is noted about a container; None for one that the template was given, or cut out of that."""
        return self._measured.get(id(value))

    def measured(self, value: Any) -> Measured:
        """Return what any value weighs."""
        kind = type(value)
        if kind is str:
            return Measured(value, value.__sizeof__(), 0)
        if not isinstance(value, (str, int, list, tuple, dict, KeysView, ValuesView, ItemsView)):
            return Measured(value, _SCALAR, 0)
        if isinstance(value, (str, int)):
            return Measured(value, _SCALAR + value.__sizeof__(), 0)
        found = self._measured.get(id(value))
        if found is None:
            found = self._measured[id(value)] = self._measure(value)
        return found

    def _measure(self, container: Any) -> Measured:
        weight, depth = _CONTAINER, 0
        items: Iterable[Any] = container
        if isinstance(container, dict):
            items = (each for pair in container.items() for each in pair)
        for item in items:
            inner = self.measured(item)
            weight += _SLOT + inner.weight
            depth = max(depth, inner.depth)
        return Measured(container, weight, depth + 1)

    def _widen(self) -> None:
        """Widen the budget by what was given, the first time that this is called for."""
        given, self._given = self._given, None
        if given is not None:
            _, size, depth = self._measure(dict(given))
            self._depth_of_given = depth - 1
            self._limit += _MADE_BY_BYTE * size
            self.heaviest += 4 * size
            self._ends += _SECONDS_BY_BYTE * size

    def _look(self, size: int) -> None:
        self._next_look = self._operations + _OPERATIONS
        if self._made + size > self._limit:
            self._widen()
            if self._made + size > self._limit:
                raise SecurityError(f"it makes more than {self._limit:,} bytes of text and lists")
        if self._timer() > self._ends:
            self._widen()
            if self._timer() > self._ends:
                raise SecurityError("it takes too long")


_budget: contextvars.ContextVar[Budget] = contextvars.ContextVar("tinkex_template_budget")
current = _budget.get


@contextlib.contextmanager
def limited_time(timer: Callable[[], float] = thread_seconds) -> Iterator[None]:
    """Give templates that are compiled and rendered in this block and thread one budget of time and bytes."""
    token = _budget.set(Budget(timer))
    try:
        yield
    finally:
        _budget.reset(token)
