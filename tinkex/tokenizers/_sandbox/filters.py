"""Filters and tests of chat templates: those of jinja2 that templates use, each bounded before its result is made."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import jinja2.filters
import jinja2.tests
import jinja2.utils
import markupsafe
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined

from tinkex.tokenizers._sandbox import operations
from tinkex.tokenizers._sandbox.budget import current
from tinkex.tokenizers._sandbox.operations import CHARACTER, ESCAPED, SHORT, joined, listed, made, text_of

_ATTRIBUTE: Final = re.compile(r"[^.,]{0,100}(?:[.,][^.,]{0,100}){0,4}")  # or the name of a test
_ITEM: Final = 4  # steps for an item that a filter is applied to
_MOST_UNIQUE: Final = 1000  # items, whose hashes may be the same
_LONGEST_NUMBER: Final = 400  # digits
_LARGEST_EXPONENT: Final = 64
_WRITTEN: Final = 12


# Of texts


def _by_method(name: str) -> Callable[..., Any]:
    def apply(_: Context, value: Any) -> Any:
        return operations.call_method(getattr(text_of(value), name), (), {})

    return apply


def _title(_: Context, value: Any) -> Any:
    text = text_of(value)
    operations.titling(text)
    return made(jinja2.filters.do_title(text))


def _trim(_: Context, value: Any, chars: str | None = None) -> Any:
    return operations.call_method(text_of(value).strip, () if chars is None else (chars,), {})


def _replace(_: Context, value: Any, old: Any, new: Any, count: int | None = None) -> Any:
    text, old, new = (str(text_of(each)) for each in (value, old, new))
    return operations.call_method(text.replace, (old, new, -1 if count is None else count), {})


def _indent(_: Context, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> Any:
    text = text_of(value)
    if (width if isinstance(width, int) else len(width)) > SHORT:
        raise SecurityError("it indents by an unusual width")
    operations.call_method(text.splitlines, (), {})
    current().check((CHARACTER + operations.STRING) * (len(text) + (1 + text.count("\n")) * SHORT))
    return made(jinja2.filters.do_indent(text, width, first, blank))


def _format(_: Context, value: Any, *values: Any, **named: Any) -> str:
    return operations.formatted(text_of(value), named or values)


def _escape(_: Context, value: Any) -> markupsafe.Markup:
    return operations.escaped(value)


def _safe(_: Context, value: Any) -> markupsafe.Markup:
    return made(markupsafe.Markup(text_of(value)))  # type: ignore[no-any-return]  # noqa: S704  # nothing is shown as HTML


def _string(_: Context, value: Any) -> str:
    return text_of(value)


def _tojson(
    _: Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: jinja2's own filter escapes it for HTML."""
    step = len(indent) if isinstance(indent, str) else indent or 0
    if step > SHORT or (separators is not None and sum(map(len, separators)) > SHORT):
        raise SecurityError("it writes JSON with unusual spaces")
    operations.check_written(value, _WRITTEN + ESCAPED)
    if indent is not None:
        found = current().measured(value)
        current().check(found.weight // operations.STRING * found.depth * step)
    elif separators is not None:
        operations.check_written(value, SHORT)
    return made(  # type: ignore[no-any-return]
        json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    )


# Of numbers


def _int(_: Context, value: Any, default: int = 0, base: int = 10) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        return default
    return made(jinja2.filters.do_int(value, default, base))


def _float(_: Context, value: Any, default: float = 0.0) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        return default
    return made(jinja2.filters.do_float(value, default))


def _round(_: Context, value: Any, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > _LARGEST_EXPONENT:
        raise SecurityError("it computes too large a number")
    return made(jinja2.filters.do_round(value, precision, method))  # type: ignore[arg-type]  # it checks that itself


def _abs(_: Context, value: Any) -> Any:
    return made(abs(value))


# Of lists and mappings


def _passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that looks at a value, or returns it or an item of it."""

    def apply(_: Context, *arguments: Any, **named: Any) -> Any:
        current().charge(0)
        return function(*arguments, **named)

    return apply


def _list(_: Context, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return operations.sliced(list(value), value)
    return listed(value) if isinstance(value, (str, range)) else made(list(value))


def _of_items(
    function: Callable[..., Any],
    *,
    of_context: bool = False,
    most: int | None = None,
    made: Callable[[Any], Any] = made,
) -> Callable[..., Any]:
    """A filter over items that are there when it begins; where it gives an iterator, so are those of the result."""

    def apply(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
        items = listed(value) if value else value
        if most is not None and len(items) > most:
            raise SecurityError(f"it looks for what is unique among more than {most} values")
        names = (*arguments[: 1 if of_context else 3], named.get("attribute"))
        if any(isinstance(name, str) and not _ATTRIBUTE.fullmatch(name) for name in names):
            raise SecurityError("it asks for something of an unusual name")
        if items:
            current().charge(0, _ITEM * len(items))
        result = function(context if of_context else context.environment, items, *arguments, **named)
        return iter(made(list(result))) if isinstance(result, Iterator) else made(result)

    return apply


def _item_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that looks at all items and gives one of them."""
    return _of_items(function, made=lambda item: item)


def _end_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that gives the first or last item."""

    def apply(context: Context, value: Any) -> Any:
        current().charge(0)
        return function(context.environment, value if isinstance(value, (str, range)) else listed(value))

    return apply


def _sort(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
    items = listed(value)
    current().check(3 * current().measured(items).weight)  # the keys, in lower case
    return _ordered(context, items, *arguments, **named)


def _dictsort(_: Context, value: Any, *arguments: Any, **named: Any) -> Any:
    current().check(3 * current().measured(value).weight)
    return made(jinja2.filters.do_dictsort(value, *arguments, **named))


def _reverse(_: Context, value: Any) -> Any:
    return operations.sliced(jinja2.filters.do_reverse(value if isinstance(value, str) else listed(value)), value)


def _sum(context: Context, value: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    items = listed(value)
    if attribute is not None:
        items = _map(context, items, attribute=attribute)
    return functools.reduce(operations.add, items, start)


def _join(context: Context, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    items = listed(value)
    if attribute is not None:
        items = _map(context, items, attribute=attribute)
    return joined([str(text_of(item)) for item in items], str(text_of(d)))


def _items(_: Context, value: Any) -> Iterator[tuple[Any, Any]]:
    current().charge(0)
    if isinstance(value, Undefined):
        return iter(())
    if not isinstance(value, Mapping):
        raise TypeError("Can only get item pairs from a mapping.")
    return iter(value.items())


_ordered = _of_items(jinja2.filters.do_sort)
_map = _of_items(jinja2.filters.sync_do_map, of_context=True)
_default = _passing(jinja2.filters.do_default)
_length = _passing(len)


def _selecting(name: str) -> Callable[..., Any]:
    return _of_items(getattr(jinja2.filters, f"sync_do_{name}"), of_context=True)


def _comparing(name: str) -> Callable[..., Any]:
    compare: Any = jinja2.tests.TESTS[name]

    def apply(*arguments: Any) -> Any:
        current().charge(0)
        return compare(*arguments)

    return apply


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "abs": _abs,
    "count": _length,
    "d": _default,
    "default": _default,
    "dictsort": _dictsort,
    "e": _escape,
    "escape": _escape,
    "first": _end_of(jinja2.filters.sync_do_first),
    "float": _float,
    "format": _format,
    "indent": _indent,
    "int": _int,
    "items": _items,
    "join": _join,
    "last": _end_of(jinja2.filters.do_last),
    "length": _length,
    "list": _list,
    "map": _map,
    "max": _item_of(jinja2.filters.do_max),
    "min": _item_of(jinja2.filters.do_min),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "safe": _safe,
    "sort": _sort,
    "string": _string,
    "sum": _sum,
    "title": _title,
    "tojson": _tojson,
    "trim": _trim,
    **{name: _by_method(name) for name in ("lower", "upper", "capitalize")},
    **{name: _selecting(name) for name in ("select", "selectattr", "reject", "rejectattr")},
    "unique": _of_items(jinja2.filters.sync_do_unique, most=_MOST_UNIQUE),
}
#: The filters of the sandbox, by name; taking the context keeps jinja2 from applying them while it compiles.
FILTERS: Final[dict[str, Callable[..., Any]]] = {
    name: jinja2.utils.pass_context(function) for name, function in _FILTERS.items()
}
_LOOKING: Final = ("odd", "even", "divisibleby", "defined", "undefined", "none", "boolean", "false", "true")
_LOOKING_AT_TYPES: Final = ("integer", "float", "string", "mapping", "number", "sequence", "iterable", "callable")
_COMPARING: Final = ("eq", "ne", "lt", "le", "gt", "ge", "equalto", "lessthan", "greaterthan", "in", "sameas")
_COMPARING_BY_SIGN: Final = ("==", "!=", "<", "<=", ">", ">=")
#: The tests of the sandbox, by name.
TESTS: Final[dict[str, Callable[..., Any]]] = {
    **{name: cast("Callable[..., Any]", jinja2.tests.TESTS[name]) for name in (*_LOOKING, *_LOOKING_AT_TYPES)},
    **{name: _comparing(name) for name in (*_COMPARING, *_COMPARING_BY_SIGN)},
}
