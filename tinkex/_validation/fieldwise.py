"""Comparison and repr by fields, written once, for classes that are loaded with the first sample.

attrs compiles these methods anew for each class, which is half of what a class costs: 0.3 ms of a program's start. Such
classes say `@frozen(eq=False, repr=False)` and take those of `Fieldwise`. Named tuples compile as much; a plain class
with slots, a `Record`, costs a tenth.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any


class Fieldwise:
    """Mixin of an attrs class: equality, hash and repr as attrs makes them; `eq` and `hash` of a field are one."""

    __slots__ = ()
    if TYPE_CHECKING:
        __attrs_attrs__: Any

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, each.name) == getattr(other, each.name) for each in self.__attrs_attrs__ if each.eq)

    def __hash__(self) -> int:
        return hash((self.__class__, *[getattr(self, each.name) for each in self.__attrs_attrs__ if each.eq]))

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        shown = (
            f"{each.name}={(repr if each.repr is True else each.repr)(getattr(self, each.name))}"
            for each in self.__attrs_attrs__
            if each.repr
        )
        return f"{self.__class__.__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


class Record:  # noqa: PLW1641 - its parts may change
    """Base of a plain class with slots: equality and repr as named tuples have them."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{self.__class__.__name__}({', '.join(shown)})"
