"""Signal handling of a batch: the first Ctrl-C lets rows in flight end, the second drops them."""

from __future__ import annotations

import _thread
import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

import click

_GRACE: Final = 10.0  # seconds for what is in flight


@contextlib.contextmanager
def interrupts(halt: threading.Event) -> Iterator[threading.Event]:
    """Have the first Ctrl-C, or SIGTERM, set `halt`, and the second, or ten seconds, raise KeyboardInterrupt.

    Yields an event that tells whether there was one.
    """
    interrupted = threading.Event()
    timer = threading.Timer(_GRACE, _thread.interrupt_main)
    timer.daemon = True

    def stop(signum: int, frame: Any) -> None:
        del signum, frame
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        halt.set()
        timer.start()
        click.echo("tinkex: rows in flight have 10 s to end; Ctrl-C again drops them.", err=True)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def how_to_go_on(*, results_here: bool) -> str:
    """What to do after an interruption: type the same again, or begin anew where no file holds the results."""
    if results_here:
        return "no file holds the results, so the same command begins anew. With -o PATH it could go on."
    return "what is finished is kept. To go on:\n  " + shlex.join(["tinkex", *sys.argv[1:]])
