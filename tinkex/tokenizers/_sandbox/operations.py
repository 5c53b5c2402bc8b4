"""Operators and methods of chat templates, each bounded before its result is made."""

from __future__ import annotations

import functools
import operator
import re
import string
from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping, ValuesView
from typing import Any, Final

import markupsafe
from jinja2.exceptions import SecurityError

from tinkex.tokenizers._sandbox.budget import current

SHORT: Final = 32  # characters to strip, separators from the end, steps of an indentation
CHARACTER: Final = 4  # bytes, at most
STRING: Final = 80  # bytes of a text besides its characters
ESCAPED: Final = 6  # characters that one becomes in HTML or JSON, at most
CHARACTERS_A_STEP: Final = 4  # bits of the number of characters that are compared or searched in a step
_WIDEST: Final = 1000  # of a text that is filled up
_MOST_BITS: Final = 10_000  # of a number
_LARGEST_EXPONENT: Final = 64
_WRITTEN: Final = 12  # bytes of a value's text for each byte that it weighs
_SMALL: Final = 4096  # below this, a result needs no look ahead
_CONVERSION: Final = re.compile(r"%(?:\(\w*\))?[-+ #0]{0,5}\d{0,3}(?:\.\d{1,3})?[a-zA-Z%]")
_FIELD: Final = re.compile(r"\w*")
_SPECIFICATION: Final = re.compile(r"[<>=^]?[-+ ]?#?0?\d{0,3},?(?:\.\d{1,3})?[a-zA-Z%]?")
_LINE_ENDS: Final = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_IN_PIECES: Final = frozenset({"split", "rsplit", "splitlines", "partition", "rpartition"})
_VIEWS: Final = (KeysView, ValuesView, ItemsView)


# Values as texts, and results as values


def text_of(value: Any) -> str:
    """Return a value as the text that jinja2 writes for it."""
    if isinstance(value, str):
        return value
    check_written(value, _WRITTEN)
    text = str(value)
    current().charge(text.__sizeof__())
    return text


def check_written(value: Any, growth: int) -> None:
    """Refuse to write a container that the template made if its text could be too long."""
    budget = current()
    known = budget.measured(value) if isinstance(value, _VIEWS) else budget.registered(value)
    if known is not None:
        budget.check(growth * known.weight)


def made(value: Any) -> Any:
    """Count what an operation has made."""
    kind = type(value)
    if kind is str:
        current().charge(value.__sizeof__())
    elif kind is list or kind is tuple or kind is dict:
        current().register(value)
    elif isinstance(value, str):
        current().charge(value.__sizeof__())
    else:
        if kind is int and value.bit_length() > _MOST_BITS:
            raise SecurityError("it computes too large a number")
        current().charge(value.__sizeof__())
    return value


def listed(value: Any) -> Any:
    """Return items as something that has a length, so that iterators are never chained; single characters are made."""
    if isinstance(value, (list, tuple, dict)):
        return value
    if isinstance(value, (str, range)):
        current().check(STRING * len(value))
        current().charge(STRING * len(value))
    return made(list(value))


def sliced(value: Any, whole: Any) -> Any:
    """Count a slice, which weighs no more than what it was cut out of."""
    known = current().registered(whole)
    if known is not None and isinstance(value, (list, tuple)):
        current().register(value, known.weight, known.depth)
    elif isinstance(value, (str, list, tuple)):
        current().charge(value.__sizeof__())
    else:
        current().charge(0)
    return value


def joined(texts: list[str], between: str = "") -> str:
    """Join texts."""
    if (size := sum(map(len, texts)) + len(between) * len(texts)) > _SMALL:
        current().check(CHARACTER * size)
    result = between.join(texts)
    current().charge(result.__sizeof__())
    return result


def escaped(text: Any) -> markupsafe.Markup:
    """Return a text as HTML, unless it is that already."""
    if not isinstance(text, markupsafe.Markup):
        text = text_of(text)
        current().check(CHARACTER * ESCAPED * len(text))
    result = markupsafe.escape(text)
    current().charge(result.__sizeof__())
    return result


# Methods: for each one that is allowed, what looks at it beforehand.


def _any(text: str, *_: Any) -> None:
    pass


def _stripping(text: str, *arguments: Any) -> None:
    if any(isinstance(each, str) and len(each) > SHORT for each in arguments):
        raise SecurityError(f"it looks for more than {SHORT} characters from the end of a text")


def _casing(text: str, *_: Any) -> None:
    if len(text) > _SMALL and not text.isascii():
        current().check(3 * CHARACTER * len(text))


def _splitting(text: str, *arguments: Any) -> None:
    if len(text) > _SMALL:
        separator = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        pieces = text.count(separator) if separator else len(text) // 2
        current().check(CHARACTER * len(text) + STRING * (1 + pieces))


def _splitting_from_the_end(text: str, *arguments: Any) -> None:
    _stripping(text, *arguments)
    _splitting(text, *arguments)


def _splitting_lines(text: str, *_: Any) -> None:
    if len(text) > _SMALL:
        current().check(CHARACTER * len(text) + STRING * sum(map(text.count, _LINE_ENDS)))


def replacing(text: str, *arguments: Any) -> None:
    """Look at a replacement in a text."""
    if len(arguments) > 1 and isinstance(arguments[0], str) and isinstance(arguments[1], str):
        old, new = arguments[:2]
        if (growth := len(new) - len(old)) > 0 or len(text) > _SMALL:
            found = text.count(old) if old else len(text) + 1
            current().check(CHARACTER * (len(text) + found * max(0, growth)))


def _filling(text: str, *arguments: Any) -> None:
    if any(isinstance(each, int) and each > _WIDEST for each in arguments):
        raise SecurityError("it fills a text up to an unusual width")
    current().check(CHARACTER * (len(text) + _WIDEST * (1 + text.count("\t"))))


def titling(text: str, *_: Any) -> None:
    """Look at a text whose words are capitalised, in pieces."""
    current().check((3 * CHARACTER + 2 * STRING) * len(text))


_TEXT: Final[dict[str, Callable[..., None]]] = {
    **dict.fromkeys(("startswith", "endswith", "find", "index", "count", "removeprefix", "removesuffix"), _any),
    **dict.fromkeys(("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "islower", "isnumeric"), _any),
    **dict.fromkeys(("isspace", "istitle", "isupper", "partition"), _any),
    **dict.fromkeys(("strip", "lstrip", "rstrip", "rfind", "rindex", "rpartition"), _stripping),
    **dict.fromkeys(("lower", "upper", "capitalize", "casefold", "swapcase"), _casing),
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "expandtabs"), _filling),
    "replace": replacing,
    "rsplit": _splitting_from_the_end,
    "split": _splitting,
    "splitlines": _splitting_lines,
    "title": titling,
}
_METHODS: Final[dict[type, dict[str, Callable[..., None]]]] = {
    str: _TEXT,
    dict: dict.fromkeys(("get", "items", "keys", "values"), _any),
    list: dict.fromkeys(("count", "index"), _any),
    tuple: dict.fromkeys(("count", "index"), _any),
}


@functools.cache
def _look_of(kind: type, name: str) -> Callable[..., None] | None:
    return next((looks.get(name) for base, looks in _METHODS.items() if issubclass(kind, base)), None)


def call_method(method: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Call a method of a text, list or mapping, if it is one that templates use.

    Raises:
        SecurityError: It is another one, or would make too much.
    """
    value, name = method.__self__, method.__name__
    look = _look_of(type(value), name)  # type: ignore[arg-type]  # a type is hashable
    if look is None:
        if name == "join" and isinstance(value, str):
            return _join(value, *arguments)
        if name == "format" and type(value) is str:
            _check_format(value, [*arguments, *named.values()])
            return made(value.format(*arguments, **named))
        raise SecurityError(f"it calls {type(value).__name__}.{name}, which chat templates have no use for")
    if type(value) is markupsafe.Markup:
        arguments = tuple(escaped(each) if isinstance(each, str) else each for each in arguments)
    look(value, *arguments, *named.values())
    if len(value) > _SMALL:
        current().charge(0, len(value) >> CHARACTERS_A_STEP)
    result = method(*arguments, **named)
    if name in _IN_PIECES:
        current().charge(value.__sizeof__() + STRING * len(result))
    return result if name == "get" else made(result)


def _check_format(text: str, values: list[Any]) -> None:
    fields = 0
    for _, name, specification, _ in string.Formatter().parse(text):
        if name is not None:
            fields += 1
            if not (_FIELD.fullmatch(name) and _SPECIFICATION.fullmatch(specification or "")):
                raise SecurityError("it formats a text in an unusual way, or fills it up to an unusual width")
    weight = current().measured(values).weight
    current().check(CHARACTER * len(text) + fields * (CHARACTER * _WIDEST + _WRITTEN * weight))


def _join(between: str, items: Iterable[Any]) -> str:
    if type(between) is markupsafe.Markup:
        return markupsafe.Markup(joined([escaped(item) for item in listed(items)], between))  # noqa: S704  # as they are
    pieces = list(listed(items))
    if not all(isinstance(each, str) for each in pieces):
        return between.join(pieces)  # Python's own complaint
    return joined(pieces, between)


# Operators


def add(left: Any, right: Any) -> Any:
    """Compute ``left + right``."""
    if isinstance(left, str):
        if isinstance(right, str) and (size := len(left) + len(right)) > _SMALL:
            current().check(CHARACTER * size * (1 if type(left) is type(right) else ESCAPED))
    elif isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        budget = current()
        budget.check(8 * (len(left) + len(right)))
        result: Any = operator.add(left, right)
        parts = budget.measured(left), budget.measured(right)
        budget.register(result, sum(part.weight for part in parts), max(part.depth for part in parts))
        return result
    return made(left + right)


def multiply(left: Any, right: Any) -> Any:
    """Compute ``left * right``."""
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MOST_BITS:
        raise SecurityError("it computes too large a number")
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(value, (str, list, tuple)):
            if isinstance(value, str):
                current().check(max(0, times) * len(value) * (1 if value.isascii() else CHARACTER))
            else:
                current().check(max(0, times) * len(value) * 8)
                result = left * right
                found = current().measured(value)
                current().register(result, max(1, times) * found.weight, found.depth)
                return result
    return made(left * right)


def power(left: Any, right: Any) -> Any:
    """Compute ``left ** right``."""
    if not (abs(left) < 2**32 and abs(right) <= _LARGEST_EXPONENT):
        raise SecurityError("it computes too large a number")
    return made(left**right)


def modulo(left: Any, right: Any) -> Any:
    """Compute ``left % right``, which formats a text."""
    return formatted(left, right) if isinstance(left, str) else made(left % right)


def formatted(text: str, values: Any) -> str:
    """Format a text as ``text % values``."""
    position = conversions = 0
    while (position := text.find("%", position)) >= 0:
        found = _CONVERSION.match(text, position)
        if found is None or type(text) is markupsafe.Markup:
            raise SecurityError("it formats a text in an unusual way, or fills it up to an unusual width")
        position = found.end()
        conversions += 1
    weight = current().measured(values).weight
    current().check(CHARACTER * len(text) + conversions * (CHARACTER * _WIDEST + _WRITTEN * weight))
    result: str = made(text % values)
    return result


def _on_numbers(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compute(left: Any, right: Any) -> Any:
        if isinstance(left, _VIEWS):
            raise SecurityError("it computes with sets")
        return made(function(left, right))

    return compute


OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": add,
    "*": multiply,
    "**": power,
    "%": modulo,
    "-": _on_numbers(operator.sub),
    "/": _on_numbers(operator.truediv),
    "//": _on_numbers(operator.floordiv),
}
