"""Diagnostic steps: their verdicts, and their time limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

import attrs

T = TypeVar("T")
FAILED: Final = "failed"
PASSED: Final = frozenset({"ok", "warning", "not used"})  # what later steps can build on


@attrs.frozen
class Finding:
    """Result of one diagnostic step."""

    name: str
    verdict: str
    """ "ok", "warning", "failed", "skipped" or "not used"."""
    seconds: float
    says: str
    cause: str | None = None
    """Where it failed: what likely is the reason."""
    advice: str | None = None
    """Where it failed: what to do next."""


class Trouble(Exception):  # noqa: N818 - a verdict, which may be no error
    """Verdict that ends a step with something other than "ok"."""

    def __init__(self, says: str, cause: str | None = None, advice: str | None = None, verdict: str = FAILED) -> None:
        super().__init__(says)
        self.says = says
        self.cause = cause
        self.advice = advice
        self.verdict = verdict


def unused(why: str) -> Trouble:
    """The verdict of a step that has nothing to examine."""
    return Trouble(why, verdict="not used")


@attrs.frozen
class Step:
    """Diagnostic step: its name, the steps that must have passed before, its time limit, what it does."""

    name: str
    needs: tuple[str, ...]
    seconds: float
    examine: Callable[[], str]


def examined(step: Step, passed: frozenset[str]) -> Finding:
    """Run one step; it ends in time and with a verdict, also where it raises or hangs."""
    missing = [name for name in step.needs if name not in passed]
    if missing:
        return Finding(step.name, "skipped", 0.0, f"needs {' and '.join(missing)}")
    begun = time.monotonic()
    try:
        says = within(step.seconds, step.examine)
    except Trouble as trouble:
        verdict, says, cause, advice = trouble.verdict, trouble.says, trouble.cause, trouble.advice
        return Finding(step.name, verdict, time.monotonic() - begun, says, cause, advice)
    except TimeoutError:
        return Finding(
            step.name, FAILED, time.monotonic() - begun, f"nothing came of it within {step.seconds:g} s",
            "The other side, or something on the way to it, does not answer.", "Try again; --timeout gives it longer.",
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - an examination has to go on
        says = f"{type(error).__name__}: {error}"
        return Finding(step.name, FAILED, time.monotonic() - begun, says, "Unexpected.", "Please report it.")
    return Finding(step.name, "ok", time.monotonic() - begun, says)


def within(seconds: float, call: Callable[[], T]) -> T:
    """Run a call with a time limit: its result, or TimeoutError; a call that takes longer is left to itself."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="tinkex-doctor").start()
    return future.result(seconds)
