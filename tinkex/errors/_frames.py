"""Removal of frames from tracebacks: their variables hold credentials, and tools that report errors show them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_HANDED_CREDENTIALS: Final = frozenset(
    {"tinkex", "requests", "urllib3", "http", "attr", "urllib", "subprocess", "json"}
)
_OF_ATTRS: Final = "<attrs generated"


def drop_frames(error: BaseException) -> None:
    """Take the frames of tinkex, and of the libraries it hands credentials to, out of an error and those behind it."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = _without_ours(each.__traceback__)
            left += (each.__cause__, each.__context__)


def frameless(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that what it raises has no frames of its call, nor its arguments."""

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return function(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - it is raised below
            drop_frames(error)
            failure = error
        del arguments, named  # this frame is added to what is raised now
        try:
            raise failure
        finally:
            del failure

    return call


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    kept = []
    while trace is not None:
        frame = trace.tb_frame
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _HANDED_CREDENTIALS and not frame.f_code.co_filename.startswith(_OF_ATTRS):
            kept.append(trace)
        trace = trace.tb_next
    rest = None
    for each in reversed(kept):
        rest = TracebackType(rest, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return rest
