"""Plain copies of messages and tools: JSON-like data in which each container knows its place.

A template is a downloaded program: it must not get hold of anything but plain data. A container that it would write
as Python spells it (``[{'type': 'text', ...}]``) raises instead, which no model was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NoReturn

from tinkex._validation.values import shown

KEEP_NULLS: Final = None
DROP_NULLS: Final[frozenset[str]] = frozenset()
"""A column of structures in Parquet gives each row all the fields of the others, as nulls: those are absent."""
SCHEMA_NULLS: Final = frozenset({"default", "const"})
"""The keywords of a JSON schema for which null says something."""
_IMMUTABLE: Final = frozenset({str, int, float, bool, type(None)})


class PrintedAsPythonError(Exception):
    """A template has made text of a list or mapping in the way Python spells it."""

    def __init__(self, place: str, kind: str) -> None:
        super().__init__(place, kind)
        self.place = place
        self.kind = kind


class PlainMapping(dict[str, Any]):
    """A mapping of plain data that raises `PrintedAsPythonError` instead of becoming text."""

    __slots__ = ("_place",)

    def __init__(self, place: str, items: Mapping[str, Any]) -> None:
        super().__init__(items)
        self._place = place

    def __repr__(self) -> NoReturn:
        raise PrintedAsPythonError(self._place, "mapping")


class PlainList(list[Any]):
    """A list of plain data that raises `PrintedAsPythonError` instead of becoming text."""

    __slots__ = ("_place",)

    def __init__(self, place: str, items: list[Any]) -> None:
        super().__init__(items)
        self._place = place

    def __repr__(self) -> NoReturn:
        raise PrintedAsPythonError(self._place, "list")


def place_of(container: PlainMapping | PlainList) -> str:
    """Return the name of a container's place in error messages, such as ``messages[0].content``."""
    # The attribute is private since a template would see any other before an item of its name.
    return container._place  # noqa: SLF001


def replaced(mapping: PlainMapping, **items: Any) -> PlainMapping:
    """Return a copy of a mapping in the same place, with other items; the mapping itself where there are none."""
    return PlainMapping(place_of(mapping), {**mapping, **items}) if items else mapping


def told(value: object) -> str:
    """Return what an error message calls a value that stands where another kind is wanted."""
    return "a mapping" if isinstance(value, PlainMapping) else "a list" if isinstance(value, list) else shown(value)


def plain_copy(place: str, value: Any, kept_nulls: AbstractSet[str] | None = KEEP_NULLS) -> Any:
    """Copy plain data; *place* is its name in error messages.

    *kept_nulls*: names under which None is kept in a mapping; None keeps it under all.

    Raises:
        TypeError: Something in it is not plain data.
    """
    if type(value) in _IMMUTABLE:
        return value
    if isinstance(value, (dict, Mapping)):
        items = {
            key if type(key) is str else _key(place, key): (
                item if type(item) in _IMMUTABLE else plain_copy(f"{place}.{key}", item, kept_nulls)
            )
            for key, item in value.items()
            if item is not None or kept_nulls is None or key in kept_nulls
        }
        return PlainMapping(place, items)
    if isinstance(value, (list, tuple)):
        return PlainList(place, [plain_copy(f"{place}[{i}]", item, kept_nulls) for i, item in enumerate(value)])
    if isinstance(value, str):
        return str.__str__(value)  # what a subclass adds stays behind
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"{place} must be plain data (text, numbers, lists, mappings, None), got {shown(value)}")


def _key(place: str, key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{place} must have strings as keys, got {shown(key)}")
    return str.__str__(key)
