"""The rules of the package's shape, read from its source."""

from __future__ import annotations

import ast
import functools
import importlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tinkex"

# From the bottom up: a package imports only what stands in a lower line, or itself.
LAYERS = (
    ("_concurrency", "_identity", "_validation", "errors"),
    ("_logging", "config", "tokenizers", "web"),
    ("credentials", "queue_state", "telemetry", "types"),
    ("chat", "future"),
    ("_runtime", "_wire"),
    ("_transport", "listing"),
    ("_api",),
    ("_sampling",),
    ("_service",),
    ("_handle", "sampling_client"),
    ("service_client",),
)
OUTSIDE_THE_CORE = ("tinkex._pytest_plugin", "tinkex._server", "tinkex.testing", "tinkex.local", "tinkex.cli")
OUTSIDE_THE_CORE += ("tinkex.bulk", "tinkex.ray", "tinkex.report")
OUTSIDE_THE_CORE += ("tinkex.__main__",)
OPTIONAL = {("tinkex.service_client", "tinkex.local")}  # `ServiceClient.local()`, where its extra is installed
LONGEST_MODULE = 400
LONGEST_FUNCTION = 50
DATES = {"date", "datetime", "datetime.date", "datetime.datetime"}
HEAVY = {
    "PIL",
    "aiohttp",
    "altair",
    "click",
    "jinja2",
    "numpy",
    "orjson",
    "requests",
    "rich",
    "tenacity",
    "tokenizers",
    "urllib3",
}
HEAVY |= {"asyncio", "attrs", "email", "hashlib", "html", "http", "inspect", "ipaddress", "json", "logging", "pathlib"}
HEAVY |= {"platform", "socket", "ssl", "subprocess", "threading", "urllib", "uuid"}


def module_name(path):
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def sources():
    """Every module of the package: its name, its path and its tree."""
    return {module_name(path): (path, ast.parse(path.read_text())) for path in sorted(PACKAGE.rglob("*.py"))}


def imported_names(tree):
    """Every dotted name that the tree imports anywhere, also under TYPE_CHECKING and inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def graph():
    """Which modules of the package each module imports."""
    known = sources()
    edges = {}
    for name, (_, tree) in known.items():
        targets = set()
        for imported in imported_names(tree):
            target = imported if imported in known else imported.rpartition(".")[0]
            if target in known and target != name:
                targets.add(target)
        edges[name] = targets
    return edges


def is_within(name, package):
    """Whether the module is the package or stands inside it."""
    return name == package or name.startswith(package + ".")


def lifecycle():
    """The modules of the client itself."""
    return [name for name in sources() if not any(is_within(name, package) for package in OUTSIDE_THE_CORE)]


def rank(name):
    """The layer of a module, counted from the bottom; None for one that no layer lists."""
    for height, layer in enumerate(LAYERS):
        if any(is_within(name, f"tinkex.{member}") for member in layer):
            return height
    return None


def test_no_cycles():
    """No module imports itself through others, not even lazily or for its types."""
    remaining = {name: set(targets) for name, targets in graph().items()}
    while free := [name for name, targets in remaining.items() if not targets & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert sorted(remaining) == []


def test_every_core_module_has_a_layer():
    """A new module of the core is given a place in the order."""
    assert [name for name in lifecycle() if name != "tinkex" and rank(name) is None] == []


def test_imports_point_down():
    """A module imports only lower layers, or modules of its own package."""
    upward = [
        f"{name} -> {target}"
        for name in lifecycle()
        for target in graph()[name]
        if rank(name) is not None
        and name.split(".")[:2] != target.split(".")[:2]
        and (rank(target) is None or rank(target) >= rank(name))
        and (name, target) not in OPTIONAL
    ]
    assert upward == []


def importers(*packages):
    """The core modules that import one of the packages."""
    return [
        name
        for name in lifecycle()
        if any(is_within(imported, package) for imported in imported_names(sources()[name][1]) for package in packages)
    ]


@pytest.mark.parametrize("package", ["requests", "tenacity"])
def test_one_importer(package):
    """One module of the core imports requests, and one imports tenacity."""
    assert len(importers(package)) == 1


def reads_a_clock(tree):
    """Whether a module imports `time`, or asks datetime what time it is."""
    asks = any(
        isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today") and ast.unparse(node.value) in DATES
        for node in ast.walk(tree)
    )
    return asks or any(is_within(imported, "time") for imported in imported_names(tree))


def test_one_reader_of_clocks():
    """Only `_concurrency.clock` reads a clock: everything else is given one."""
    assert [name for name in lifecycle() if reads_a_clock(sources()[name][1])] == ["tinkex._concurrency.clock"]


def test_module_lengths():
    """A module fits in a few screens."""
    lengths = {name: len(path.read_text().splitlines()) for name, (path, _) in sources().items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def code_length(function):
    """The lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def test_function_lengths():
    """A function fits on a screen."""
    long = {
        f"{name}.{node.name}": code_length(node)
        for name, (_, tree) in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_length(node) > LONGEST_FUNCTION
    }
    assert long == {}


def test_names_say_something():
    """No module has a name that could mean anything."""
    vague = {"utils", "helpers", "common", "manager", "handler", "holder", "misc"}
    assert [name for name in sources() if name.rpartition(".")[2].lstrip("_") in vague] == []


def test_import_is_light():
    """`import tinkex` loads no other library, no extra, and little of the standard library."""
    script = "import sys, tinkex; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert HEAVY & set(loaded) == set()


def test_public_names_exist():
    """Every public name can be fetched from the package, and the list is sorted."""
    import tinkex

    assert [name for name in tinkex.__all__ if not hasattr(tinkex, name)] == []
    assert sorted(tinkex.__all__) == list(tinkex.__all__)
    assert set(tinkex.__all__) <= set(dir(tinkex))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tinkex.no_such_name


def test_public_names_are_what_type_checkers_see():
    """What a name is when the program runs is what the imports for type checkers say."""
    import tinkex

    seen = {
        alias.name: importlib.import_module(node.module)
        for node in ast.walk(sources()["tinkex"][1])
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tinkex.")
        for alias in node.names
    }
    assert sorted({*seen}) == tinkex.__all__
    assert [name for name, module in seen.items() if getattr(tinkex, name) is not getattr(module, name)] == []


PUBLIC_MODULES = ("chat", "config", "credentials", "errors", "future", "queue_state", "telemetry", "types")


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_public_modules_are_attributes(module):
    """`tinkex.types.ModelInput` works after `import tinkex` alone."""
    script = f"import tinkex; print(tinkex.{module}.__name__)"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == f"tinkex.{module}"
