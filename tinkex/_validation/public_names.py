"""Names for `dir()` and for completion: those that users may call."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def with_public_names(cls: type[T]) -> type[T]:
    """Have `dir()` list the names of a class's objects without those of their inside."""
    changed: Any = cls
    changed.__dir__ = public_names
    return cls


def public_names(self: object) -> list[str]:
    """Return an object's names, without those that begin with an underscore, but for Python's own."""
    return [name for name in object.__dir__(self) if not name.startswith("_") or name.endswith("__")]
