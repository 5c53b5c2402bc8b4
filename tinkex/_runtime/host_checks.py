"""Checks of the host process: uWSGI may run no threads, gevent and eventlet replace them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping

from tinkex.errors import NoThreadsError

_OFF = frozenset({"", "0", "false", "no", "off", "none"})
_PATCHERS = (("gevent", "gevent.monkey", "is_module_patched"), ("eventlet", "eventlet.patcher", "is_monkey_patched"))
_PATCHED = {"gevent": "threading", "eventlet": "thread"}
_warned_of: set[str] = set()


def check_threads() -> None:
    """Raise NoThreadsError where threads would start and never run; warn, once, where they are not real ones."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not _uwsgi_runs_threads(getattr(uwsgi, "opt", {})):
        raise NoThreadsError("uWSGI runs no threads in this process: start it with --enable-threads (or --threads N).")
    patcher = patched_by()
    if patcher is not None and patcher not in _warned_of:
        _warned_of.add(patcher)
        warnings.warn(
            f"{patcher} has replaced this process's threads and sockets. tinkex works on threads and is not tested with"
            f" {patcher}: use a threaded worker, such as gunicorn's gthread.",
            RuntimeWarning,
            stacklevel=2,
        )


def patched_by() -> str | None:
    """The library that has replaced the standard threads; None where they are real."""
    for name, module, question in _PATCHERS:
        ask = getattr(sys.modules.get(module), question, None)
        if ask is not None and ask(_PATCHED[name]):
            return name
    return None


def _uwsgi_runs_threads(options: Mapping[object, object]) -> bool:
    """Whether `uwsgi.opt`, whose names and values may be bytes, switches threads on."""
    given = {_option_word(name): _option_word(value) for name, value in options.items()}
    return any(given.get(name, "off") not in _OFF for name in ("enable-threads", "threads"))


def _option_word(value: object) -> str:
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip().lower()
