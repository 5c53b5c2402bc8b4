"""Field documentation for `help()`: what stands in the source at a field of a class, read when it is asked for."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from tinkex._validation.public_names import with_public_names

T = TypeVar("T")


def with_field_docs(cls: type[T]) -> type[T]:
    """Have `help()` explain each field of a class with slots: by the text below it, or the ``#:`` lines above it.

    `dir()` lists its public names alone.
    """
    slots: Any = cls
    slots.__slots__ = _FieldDocs(cls)
    return with_public_names(cls)


class _FieldDocs(dict[str, Any]):
    """The slots of a class with their documentation, in the form in which Python looks for it."""

    def __init__(self, cls: type[Any]) -> None:
        super().__init__(dict.fromkeys(cls.__slots__))
        self._class: Any = cls

    def __getitem__(self, name: str) -> str | None:
        return _read(self._class).get(name)


@functools.lru_cache(maxsize=4)
def _read(cls: Any) -> dict[str, str]:
    import ast  # help() alone needs these
    import inspect
    import textwrap

    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # of a program without its source
        return {}
    lines = source.splitlines()
    (found,) = ast.parse(source).body
    assert isinstance(found, ast.ClassDef)
    docs: dict[str, str] = {}
    before = ""
    for field, below in zip(found.body, [*found.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            docs[field.target.id] = inspect.cleandoc(below.value.value)
            continue
        above = _comment(lines[: field.lineno - 1])
        if above or (before in docs and lines[field.lineno - 2].strip().startswith(f"{before}:")):  # one for both
            docs[field.target.id] = above or docs[before]
        before = field.target.id
    return docs


def _comment(lines: list[str]) -> str:
    """Return the text of the ``#:`` lines at the end."""
    above: list[str] = []
    while lines and lines[-1].strip().startswith("#:"):
        above.insert(0, lines.pop().strip()[2:].strip())
    return " ".join(above)
