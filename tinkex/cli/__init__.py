"""The ``tinkex`` command; needs the ``cli`` extra."""

from __future__ import annotations

import importlib.util
import io
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    missing = [name for name in ("click", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f"tinkex: the command line needs {' and '.join(missing)}. Run: pip install 'tinkex[cli]'\n")
        sys.exit(2)
    from tinkex.cli._app import app

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # sampled text may be more than the terminal can write
    app(prog_name="tinkex")
