"""Raises KeyboardInterrupt at a chosen line of tinkex, as a Ctrl-C, an alarm handler or a soft time limit does."""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import pathlib
import sys
from collections import Counter

import tinkex

PACKAGE = str(pathlib.Path(tinkex.__file__).parent)


class Interrupter:
    """While entered: raises KeyboardInterrupt before the line of this number that the calling thread comes to.

    Left out are the lines of `finally` and `except` clauses and of `__exit__`, and the way from a `with` block to it,
    where Python gives no guarantee.
    `hit` is where it was raised; None where the thread came to fewer lines. Lines in `passed` do not count. `ending`
    says whether that was in what a line that is left out has called.
    """

    def __init__(self, number, passed=()):
        self.hit = None
        self.ending = False
        self._left = number
        self._passed = passed
        self._last = {}

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)
        self._last.clear()

    def _trace(self, frame, event, argument):
        path = frame.f_code.co_filename
        if not path.startswith(PACKAGE) or self.hit is not None:
            return None
        last, self._last[frame] = self._last.get(frame), frame.f_lineno
        if event == "return":
            del self._last[frame]
        elif event == "line" and frame.f_lineno not in _exempt(path) and not _leaves(path, last, frame.f_lineno):
            where = f"{path.removeprefix(PACKAGE)}:{frame.f_lineno}"
            if self._counts(where):
                self.hit = where
                self.ending = _is_called_by_exempt(frame)
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace

    def _counts(self, where):
        """Whether this is the line."""
        if where in self._passed:
            return False
        self._left -= 1
        return self._left < 0


def _is_called_by_exempt(frame):
    while (frame := frame.f_back) is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE) and frame.f_lineno in _exempt(path):
            return True
    return False


def _leaves(path, last, line):
    """Whether the way from line to line is out of a `with` block."""
    return last is not None and any(line in head and last in body for head, body in _blocks(path))


@functools.cache
def _blocks(path):
    """The lines of the heads and the bodies of all `with` statements of a file."""
    withs = [node for node in ast.walk(ast.parse(pathlib.Path(path).read_text())) if isinstance(node, ast.With)]
    return [(range(w.lineno, w.body[0].lineno), range(w.body[0].lineno, w.end_lineno + 1)) for w in withs]


@functools.cache
def _exempt(path):
    """The numbers of the lines of a file where an interrupt may do harm."""
    lines = set()
    for node in ast.walk(ast.parse(pathlib.Path(path).read_text())):
        if isinstance(node, ast.Try):
            blocks = [*node.handlers, *node.finalbody]
            lines.add(node.lineno)  # where nothing is done, no signal comes; and CPython has no handler for the line
        elif isinstance(node, ast.FunctionDef) and node.name in ("__exit__", "__del__"):
            blocks = [node]
        else:
            continue
        for block in blocks:
            lines.update(range(block.lineno, block.end_lineno + 1))
    return lines


class LaterInterrupter(Interrupter):
    """Interrupts where the thread comes to a line for the so-many-th time, the first that is not in `passed`."""

    def __init__(self, times, passed):
        super().__init__(0, passed)
        self._times = times
        self._seen = Counter()

    def _counts(self, where):
        self._seen[where] += 1
        return self._seen[where] == self._times and super()._counts(where)


def each_line():
    """One context for each line of a call that the test repeats: it interrupts there, the last one nowhere."""
    return _until_none_is_hit(map(Interrupter, itertools.count()))


def each_place(times):
    """The same for a call that comes to its lines often: each once, when it is come to for the so-many-th time."""
    passed = set()
    for interrupter, interrupted in _until_none_is_hit(LaterInterrupter(times, passed) for _ in itertools.count()):
        yield interrupter, interrupted
        passed.add(interrupter.hit)


def _until_none_is_hit(interrupters):
    for interrupter in interrupters:

        @contextlib.contextmanager
        def interrupted(interrupter=interrupter):
            with contextlib.suppress(KeyboardInterrupt), interrupter:
                yield

        yield interrupter, interrupted
        if interrupter.hit is None:
            return
