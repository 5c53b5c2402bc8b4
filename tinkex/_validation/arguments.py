"""Argument checks, made where a public call is made; each message names the argument."""

from __future__ import annotations

import math
import threading
from typing import Final

from tinkex._validation.values import shown, whole

MOST: Final = 2**63 - 1
"""Of a count or a number of bytes: more is a slip, and more than the counters of some libraries hold."""


def check_timeout(timeout: object) -> float:
    """Check a time limit in seconds; `float("inf")` is none."""
    return check_seconds("timeout", timeout)


def check_seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Check for a duration: a number above 0, or 0 as well with *zero*."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a number of seconds, not an int of {int(value).bit_length()} bits") from None
    if not (seconds > 0 or (zero and seconds == 0)):
        raise ValueError(f"{name} must be {'at least' if zero else 'above'} 0 seconds, not {value}")
    return seconds


def check_wait(timeout: object) -> float | None:
    """Check how long to wait for a future: seconds, 0 and less for not at all; None and infinity for no limit."""
    if timeout is None:
        return None
    if isinstance(timeout, bool | str | bytes) or not hasattr(type(timeout), "__float__"):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    try:
        seconds = float(timeout)  # type: ignore[arg-type]  # it has __float__
    except (OverflowError, TypeError, ValueError):
        raise ValueError(f"timeout must be a number of seconds, not {shown(timeout)}") from None
    if math.isnan(seconds):
        raise ValueError("timeout must be a number of seconds, not nan")
    return None if seconds > threading.TIMEOUT_MAX else seconds


def check_choice(name: str, value: object, *choices: str) -> str:
    """Check for one of a few words."""
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {str(value)[:60]!r}")
    return str(value)


def check_count(name: str, value: object, least: int, kind: str = "a whole number") -> None:
    """Check for a whole number of at least `least`; `kind` is what a message calls it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be {kind}, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {shown(value)}")
    if value > MOST:
        raise ValueError(f"{name} must be at most {MOST}, not {shown(value)}")


def check_port(port: object) -> int:
    """Check for the number of a port, or 0 for a free one."""
    return whole("port", port, 0, 65535)


def check_id(name: str, value: object) -> None:
    """Check for the id of something on the server."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value.strip() or value in (".", "..") or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} must name something on the server, not {value!r}")


def check_observer(name: str, observer: object) -> None:
    """Check for a queue-state observer: it has a method on_queue_state_change."""
    if not callable(getattr(observer, "on_queue_state_change", None)):
        raise TypeError(f"{name} must have a method on_queue_state_change, and {type(observer).__name__} has none")


def check_flag(name: str, value: object) -> None:
    """Check for True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")


def check_model(base_model: object, model_path: object, sampling_session_id: object) -> None:
    """Check what to sample from: a base model, weights or both, or a session with or without its base model."""
    given = {"base_model": base_model, "model_path": model_path, "sampling_session_id": sampling_session_id}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {type(value).__name__}")
        if isinstance(value, str) and not value.strip():
            raise ValueError(f"{name} must not be empty")
    if isinstance(model_path, str) and not model_path.startswith("tinker://"):
        raise ValueError(
            f"model_path must start with tinker://, not {model_path[:60]!r}; the name of a model is its base_model"
        )
    if isinstance(base_model, str) and base_model.startswith("tinker://"):
        raise ValueError(f"base_model must be the name of a model, not {base_model[:60]!r}: pass it as model_path")
    if sampling_session_id is not None and model_path is not None:
        raise ValueError("sampling_session_id and model_path exclude each other: the session has its model")
    if all(value is None for value in given.values()):
        raise ValueError("base_model or model_path is missing: give one, or both")
