"""jinja2 environment of the sandbox: which syntax templates may use, and where their operations are counted."""

from __future__ import annotations

import datetime as dt
import re
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

import jinja2
import jinja2.ext
import jinja2.filters
import jinja2.meta
import jinja2.sandbox
import jinja2.tests
import jinja2.utils
import markupsafe
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.visitor import NodeTransformer

from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex.tokenizers._sandbox import operations
from tinkex.tokenizers._sandbox.budget import current
from tinkex.tokenizers._sandbox.filters import FILTERS, TESTS

__all__ = [
    "Sandbox",
    "SecurityError",
    "TemplateRefusedError",
    "TemplateSyntaxError",
    "check_format",
    "variables_of",
]

_LONGEST_SOURCE: Final = 100_000  # characters; the longest of 160 known templates has a fifth of that
_MOST_TOKENS: Final = 12_000  # of the grammar, three times the most known; each is compiled in up to 4 KB
_LONGEST_DATE: Final = 200  # characters of its format
_WIDE_DATE: Final = re.compile(r"%[^a-zA-Z%]*\d{3}")
_LONG: Final = 400  # bytes that a branch writes, from which on it counts them itself
_CALL: Final = 512  # bytes of what a call may make besides texts: a namespace, the frame of a macro
_ARGUMENT: Final = 48  # bytes of each further one, with a number that was made for it
_FEW: Final = 8
_MOST_PAIRS: Final = 500  # of a mapping that is written down, whose keys may have the same hash
_MOST_COMPARED: Final = 4  # values in a chain such as a < b < c, which is one operation
_DEEPEST: Final = 50  # statements in statements
_STATEMENTS: Final = (
    *(nodes.Output, nodes.If, nodes.For, nodes.Assign, nodes.AssignBlock, nodes.Macro, nodes.CallBlock, nodes.Scope),
    *(nodes.FilterBlock, nodes.With, nodes.Break, nodes.Continue),
)
_ELSEWHERE: Final = "which chat templates have no use for"


class TemplateRefusedError(TemplateError):
    """A template has called ``raise_exception``: it does not take these messages."""


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what the model wrote, for training: here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - declared by jinja2 as an instance's own

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _written(statements: Iterable[nodes.Node]) -> int:
    """The bytes of the constant texts that a body writes, without what is counted within it."""
    size = 0
    for node in statements:
        if isinstance(node, nodes.TemplateData):
            size += operations.CHARACTER * len(node.data)
        elif isinstance(node, nodes.If):
            branches = (_written(branch) for branch in (node.body, node.elif_, node.else_))
            size += sum(branch for branch in branches if branch <= _LONG)
        elif isinstance(node, nodes.For):
            size += _written(node.else_)
        elif not isinstance(node, (nodes.Macro, nodes.CallBlock)):
            size += _written(node.iter_child_nodes())
    return size


class _Counting(NodeTransformer):
    """Refuses what templates do not use, and sends what makes or compares values through the budget."""

    def __init__(self) -> None:
        self._depth = 0

    def generic_visit(self, node: nodes.Node, *arguments: Any, **named: Any) -> nodes.Node:
        if not isinstance(node, nodes.Stmt):
            return super().generic_visit(node, *arguments, **named)
        if not isinstance(node, _STATEMENTS):
            raise SecurityError(f"it uses {{% {type(node).__name__.lower()} %}}, {_ELSEWHERE}")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise SecurityError(f"it nests statements more than {_DEEPEST} deep")
        visited = super().generic_visit(node, *arguments, **named)
        self._depth -= 1
        return visited

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802 - jinja2's name for it
        if node.name in jinja2.filters.FILTERS and node.name not in FILTERS:
            raise SecurityError(f"it uses the filter {node.name}, {_ELSEWHERE}")
        return self.generic_visit(node)

    def visit_Test(self, node: nodes.Test) -> nodes.Node:  # noqa: N802
        if node.name in jinja2.tests.TESTS and node.name not in TESTS:
            raise SecurityError(f"it uses the test {node.name}, {_ELSEWHERE}")
        return self.generic_visit(node)

    def visit_If(self, node: nodes.If) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        for branch in (node.body, node.else_):
            if _written(branch) > _LONG:
                _count(branch)
        return node

    def visit_For(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        _count(node.body)
        return node

    visit_Macro = visit_CallBlock = visit_For  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_concat", nodes.Tuple(node.nodes, "load", lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if all(_is_constant(operand.expr) for operand in node.ops):
            return node
        if len(node.ops) > _MOST_COMPARED:
            raise SecurityError(f"it compares more than {_MOST_COMPARED} values with one")
        searches = len(node.ops) > 1 or node.ops[0].op in ("in", "notin")
        for place in node.ops if searches else [node]:
            if not _is_constant(place.expr):
                place.expr = _through("_count", place.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _through("_slice", node.node, node.arg.start, node.arg.stop, node.arg.step)
        if not _is_constant(node.arg):
            node.arg = _through("_count", node.arg)
        return node

    def visit_List(self, node: nodes.List | nodes.Dict | nodes.Tuple) -> nodes.Node:  # noqa: N802
        if isinstance(node, nodes.Dict) and len(node.items) > _MOST_PAIRS:
            raise SecurityError(f"it writes down a mapping of more than {_MOST_PAIRS} pairs")
        self.generic_visit(node)
        stored = isinstance(node, nodes.Tuple) and node.ctx != "load"
        return node if stored or _is_constant(node) else _through("_made", node)

    visit_Dict = visit_Tuple = visit_List  # noqa: N815

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802
        return _through("_made", node) if node.ctx == "load" and node.name in ("varargs", "kwargs") else node


def _through(name: str, node: nodes.Expr, *arguments: nodes.Expr | None) -> nodes.Filter:
    given = [nodes.Const(None) if argument is None else argument for argument in arguments]
    return nodes.Filter(node, name, given, [], None, None, lineno=node.lineno)


def _count(body: list[nodes.Node]) -> None:
    """Have a body count what it writes, each time that it is run."""
    line = body[0].lineno if body else 1
    body.insert(
        0, nodes.ExprStmt(_through("_count", nodes.Const(0, lineno=line), nodes.Const(_written(body))), lineno=line)
    )


def _is_constant(node: nodes.Node) -> bool:
    """Whether an expression is made of the template's own literals alone."""
    if isinstance(node, (nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Neg)):
        return all(map(_is_constant, node.iter_child_nodes()))
    return isinstance(node, nodes.Const)


# What the syntax tree is sent through


def _count_value(_: Context, value: Any, size: int = 0) -> Any:
    current().charge(size, len(value) >> operations.CHARACTERS_A_STEP if isinstance(value, str) else 0)
    return value


def _made(_: Context, value: Any) -> Any:
    return operations.made(value)


def _slice(context: Context, value: Any, start: Any, stop: Any, step: Any) -> Any:
    return operations.sliced(context.environment.getitem(value, slice(start, stop, step)), value)


def _concat(_: Context, values: tuple[Any, ...]) -> str:
    return operations.joined([str(operations.text_of(value)) for value in values])


_INTERNAL: Final[dict[str, Callable[..., Any]]] = {
    "_concat": jinja2.utils.pass_context(_concat),
    "_count": jinja2.utils.pass_context(_count_value),
    "_made": jinja2.utils.pass_context(_made),
    "_slice": jinja2.utils.pass_context(_slice),
}


@jinja2.utils.pass_context
def _output(_: Context, value: Any) -> str:
    text: str = value if type(value) is str else operations.text_of(value)
    current().charge(operations.CHARACTER * len(text))
    return text


# Globals


class _Dict:
    """``dict`` for templates: it makes dictionaries, and is not a class to climb up from."""

    def __call__(self, *pairs: Any, **named: Any) -> dict[Any, Any]:
        if any(not isinstance(each, dict) for each in pairs):
            raise SecurityError(f"it makes a dict of pairs, {_ELSEWHERE}")
        made: dict[Any, Any] = operations.made(dict(*pairs, **named))
        return made


_dict: Final = _Dict()


class _Namespace(jinja2.utils.Namespace):
    """``namespace`` for templates, without names that mean something to Python, and not written with its values."""

    def __init__(self, *pairs: Any, **named: Any) -> None:
        super().__init__(_dict(*pairs, **named))

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"it sets {name!r} on a namespace")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


def _raise_exception(message: Any) -> None:
    raise TemplateRefusedError(operations.text_of(message))


def check_format(format: str) -> None:
    """Raise SecurityError for a format of dates that no conversation needs."""
    if len(format) > _LONGEST_DATE or _WIDE_DATE.search(format):
        raise SecurityError("it writes the date in an unusual format")


def _strftime_now(format: str) -> Any:
    check_format(format)
    now = dt.datetime.fromtimestamp(SYSTEM_CLOCK.wall())  # noqa: DTZ006 - the date where the user is
    return operations.made(now.strftime(format))


_GLOBALS: Final[dict[str, Callable[..., Any]]] = {
    "dict": _dict,
    "namespace": _Namespace,
    "raise_exception": _raise_exception,
    "range": jinja2.sandbox.safe_range,
    "strftime_now": _strftime_now,
}
_CALLABLE: Final = frozenset(map(id, _GLOBALS.values()))
_OF_MAPPINGS: Final = frozenset(dir(dict))
_OPEN: Final = (LoopContext, jinja2.utils.Namespace)  # whose public attributes are all for templates
_OF_LOOPS: Final = ("changed", "cycle")


class _Template(jinja2.Template):
    """Template that tells the budget what it is given."""

    def render(self, *arguments: Any, **named: Any) -> str:
        given = dict(*arguments, **named)
        current().give(given)
        return super().render(given)


def variables_of(source: str) -> set[str]:
    """Return the names of variables that a template may read, also in a branch that is not taken."""
    if len(source) > _LONGEST_SOURCE:
        return set()
    tree = jinja2.sandbox.ImmutableSandboxedEnvironment._parse(Sandbox(), source, None, None)  # noqa: SLF001
    return jinja2.meta.find_undeclared_variables(tree)


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Renders chat templates as the field does, within the budget of `limited_time`."""

    template_class = _Template
    intercepted_binops = frozenset(operations.OPERATORS)

    def __init__(self) -> None:
        extensions = [jinja2.ext.loopcontrols, _Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, optimized=False, finalize=_output)
        self.filters = {**FILTERS, **_INTERNAL}
        self.tests = dict(TESTS)
        self.globals = dict(_GLOBALS)

    def make_globals(self, d: Any) -> dict[str, Any]:
        """Return the globals of a template as one mapping, which is quicker to copy than jinja2's chain of them."""
        return {**self.globals, **(d or {})}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > _LONGEST_SOURCE or sum(1 for _ in self.lexer.tokeniter(source, name, filename)) > _MOST_TOKENS:
            raise SecurityError(f"it has more than {_LONGEST_SOURCE:,} characters or {_MOST_TOKENS:,} tokens")
        tree: nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute or item; methods of plain data are looked at when they are called."""
        if isinstance(obj, dict) and attribute not in _OF_MAPPINGS and attribute in obj:
            return obj[attribute]  # as below, but quicker
        if not attribute.startswith("_"):
            value = getattr(obj, attribute, None)
            if type(value) is types.BuiltinMethodType or (value is not None and isinstance(obj, _OPEN)):
                return value
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> None:
        """Leave ``format`` of a text as it is: `call` looks at what it would make."""

    def call(*arguments: Any, **named: Any) -> Any:
        """Call a macro, a method that is allowed, or one of the globals."""
        _, context, function, *given = arguments
        if len(given) > _FEW:
            current().charge(_ARGUMENT * len(given))
        owner = getattr(function, "__self__", None)
        if type(function) is types.BuiltinMethodType or isinstance(owner, markupsafe.Markup):
            named.pop("_loop_vars", None)  # which compiled code adds within loops
            named.pop("_block_vars", None)
            return operations.call_method(function, tuple(given), named)
        if (
            id(function) in _CALLABLE
            or isinstance(function, (Macro, LoopContext, Undefined))
            or (isinstance(owner, LoopContext) and function.__name__ in _OF_LOOPS)
            or (isinstance(function, types.FunctionType) and function.__module__.startswith("tinkex."))
        ):
            current().charge(_CALL)
            return context.call(function, *given, **named)
        raise SecurityError(f"it calls {type(function).__name__}, {_ELSEWHERE}")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute unless the result would be of a size that no conversation needs."""
        return operations.OPERATORS[operator](left, right)
