"""The most memory that this process has had, of its own."""

from __future__ import annotations

import pathlib
import resource
import sys


def peak_bytes():
    """The peak of this process's resident memory since it began to run its program.

    On Linux `ru_maxrss` is not that: it goes on from the peak of the process that started this one.
    """
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pathlib.Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024
