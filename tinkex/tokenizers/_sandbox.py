"""Run chat templates in a sandbox with limits on time and size: they are programs out of downloaded files.

The only importer of jinja2.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, Final

import jinja2.ext
import jinja2.filters
import jinja2.meta
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.visitor import NodeTransformer

from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock

LONGEST_TEXT: Final = 20_000_000  # characters
_SECONDS: Final = 10.0
_LARGEST_EXPONENT: Final = 64
_MOST_BITS: Final = 10_000  # of a number
_WIDE_FORMAT: Final = re.compile(r"%[^a-zA-Z%]*(\*|\d{5})")

__all__ = [
    "Sandbox",
    "SecurityError",
    "TemplateRefusedError",
    "TemplateSyntaxError",
    "limited",
    "limited_time",
    "variables_of",
]

_deadline: contextvars.ContextVar[tuple[Clock, float] | None] = contextvars.ContextVar("deadline", default=None)


@contextlib.contextmanager
def limited_time(clock: Clock = SYSTEM_CLOCK) -> Iterator[None]:
    """End templates that run in this block and thread for longer than ten seconds."""
    token = _deadline.set((clock, clock.monotonic() + _SECONDS))
    try:
        yield
    finally:
        _deadline.reset(token)


def check_time() -> None:
    """Raise SecurityError once the time is over."""
    if (limit := _deadline.get()) is not None and limit[0].monotonic() > limit[1]:
        raise SecurityError(f"it did not end within {_SECONDS:g} s")


def check_length(length: int) -> None:
    """Raise SecurityError for a text that no conversation is as long as."""
    if length > LONGEST_TEXT:
        raise SecurityError(f"it makes a text of more than {LONGEST_TEXT:,} characters")


def check_format(text: str) -> None:
    """Raise SecurityError for a format that fills a text up to a width that no conversation needs."""
    if _WIDE_FORMAT.search(text):
        raise SecurityError("it fills a text up to an unusual width")


def limited(pieces: Iterable[str]) -> Iterator[str]:
    """Pass the pieces of a text on while it is of a sensible length."""
    length = 0
    for piece in pieces:
        check_time()
        length += len(piece)
        check_length(length)
        yield piece


class TemplateRefusedError(TemplateError):
    """A template has called ``raise_exception``: it does not take these messages."""


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what the model wrote, for training: here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - declared by jinja2 as an instance's own

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class _Counted(NodeTransformer):
    """Sends what loops go over, and texts put together by ``~``, through filters that keep the limits."""

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.Node:  # noqa: N802 - jinja2's name for it
        self.generic_visit(node)
        node.iter = jinja2.nodes.Filter(node.iter, "_looped", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        items = jinja2.nodes.Tuple(node.nodes, "load", lineno=node.lineno)
        return jinja2.nodes.Filter(items, "_joined", [], [], None, None, lineno=node.lineno)


class _Dict:
    """``dict`` for templates: it makes dictionaries, and is not a class to climb up from."""

    def __call__(self, *pairs: Any, **named: Any) -> dict[Any, Any]:
        return dict(*pairs, **named)

    fromkeys = staticmethod(dict.fromkeys)


class _Namespace(jinja2.utils.Namespace):
    """``namespace`` for templates, without names that mean something to Python."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"it sets {name!r} on a namespace")
        super().__setitem__(name, value)


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Renders chat templates as the field does, with bounds on time and size."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _Generation])
        self.filters |= {name: _bounded(self.filters[name]) for name in ("batch", "center", "indent", "slice")}
        self.filters |= {"join": _join, "replace": _replace, "round": _round}
        self.filters |= {"format": _format, "tojson": _tojson, "_looped": _looped, "_joined": _joined}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now, "dict": _Dict()}
        self.globals["namespace"] = _Namespace
        del self.globals["lipsum"]

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        tree: jinja2.nodes.Template = _Counted().visit(super()._parse(source, name, filename))
        return tree

    def call(*arguments: Any, **named: Any) -> Any:
        check_time()
        text = getattr(arguments[2], "__self__", None)
        if isinstance(text, str):
            arguments = (*arguments[:3], *_measured(text, arguments[2].__name__, arguments[3:]))
            for argument in arguments[3:]:
                if isinstance(argument, int):  # the width of a text to fill up, for example
                    check_length(argument)
        result = jinja2.sandbox.SandboxedEnvironment.call(*arguments, **named)
        if isinstance(result, str):
            check_length(len(result))
        return result

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute unless the result would be of a size that no conversation needs."""
        if operator == "**" and not (abs(left) < 2**32 and abs(right) <= _LARGEST_EXPONENT):
            raise SecurityError("it computes too large a number")
        if operator == "*":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MOST_BITS:
                raise SecurityError("it computes too large a number")
            for text, times in ((left, right), (right, left)):
                if isinstance(text, Sized) and isinstance(times, int):
                    check_length(len(text) * times)
        if operator == "+" and isinstance(left, Sized) and isinstance(right, Sized):
            check_length(len(left) + len(right))
        if operator == "%" and isinstance(left, str):
            check_format(left)
        return super().call_binop(context, operator, left, right)


def _measured(text: str, method: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Keep a method of a text from making one of any size; returns what to call it with."""
    if method == "replace" and len(arguments) > 1:
        _replace(text, arguments[0], arguments[1], 0)
    if method == "expandtabs":
        check_length(
            len(text) + text.count("\t") * max((size for size in arguments if isinstance(size, int)), default=8)
        )
    return (_joinable(text, arguments[0]),) if method == "join" and len(arguments) == 1 else arguments


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a filter from filling something up to any size."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        for argument in (*arguments, *named.values()):
            if isinstance(argument, int):
                check_length(argument)
        return function(*arguments, **named)

    return call


@jinja2.pass_eval_context
def _join(context: Any, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> Any:
    joined: str = jinja2.filters.do_join(context, _joinable(str(d), value), d, attribute)
    return joined


def _joinable(between: str, items: Iterable[Any]) -> list[Any]:
    """The items of a text that is put together, which is of a sensible length."""
    found, length = [], 0
    for item in items:
        length += len(between) + (len(item) if isinstance(item, str) else 1)
        check_length(length)
        found.append(item)
    return found


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(text), str(old), str(new)
    check_length(len(text) + text.count(old) * max(0, len(new) - len(old)))
    return str(text.replace(old, new, -1 if count is None else count))


def _round(value: Any, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > _LARGEST_EXPONENT:
        raise SecurityError("it computes too large a number")
    return jinja2.filters.do_round(value, precision, method)  # type: ignore[arg-type]  # it checks that itself


def _format(text: Any, *values: Any, **named: Any) -> str:
    check_format(str(text))
    return str(text) % (named or values)


def _looped(items: Any) -> Any:
    check_time()
    return items if isinstance(items, Sized) or not isinstance(items, Iterable) else _ticking(items)


def _ticking(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        check_time()
        yield item


def _joined(items: Sequence[Any]) -> str:
    texts = [str(item) for item in items]
    check_length(sum(map(len, texts)))
    return "".join(texts)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: jinja2's own filter escapes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: Any) -> None:
    raise TemplateRefusedError(str(message))


def _strftime_now(format: str) -> str:
    now = dt.datetime.fromtimestamp(SYSTEM_CLOCK.wall())  # noqa: DTZ006 - the date where the user is
    return now.strftime(format)


def variables_of(source: str) -> set[str]:
    """Return the names of variables that a template may read, also in a branch that is not taken."""
    return jinja2.meta.find_undeclared_variables(Sandbox().parse(source))
