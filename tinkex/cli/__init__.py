"""Command line: the ``tinkex`` command; needs the ``cli`` extra."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

__all__ = ["main"]


def __dir__() -> list[str]:
    return sorted(__all__)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    interruptible = (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )  # not so in the background of a script
    if interruptible:
        signal.signal(signal.SIGINT, _leave)  # until the command runs there is nothing to clean up
    import gc
    import importlib.util
    import io

    gc.disable()  # until the command runs: nothing of what is imported is garbage
    missing = [name for name in ("click", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f"tinkex: the command line needs {' and '.join(missing)}. Run: pip install 'tinkex[cli]'\n")
        sys.exit(2)
    from tinkex.cli._app import app

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # sampled text may be more than the terminal can write
    try:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app(prog_name="tinkex")
    except KeyboardInterrupt:
        _leave()
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, _leave)
        gc.freeze()  # memory goes with the process: the interpreter need not look through it again


def _leave(*_signal: object) -> NoReturn:
    """End at once, without a traceback of an import or a shutdown that was under way."""
    os.write(2, b"tinkex: interrupted\n")
    os._exit(130)
