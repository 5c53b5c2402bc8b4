"""The rules of the package's shape. Each takes a source tree, and returns what breaks it: a line for each case."""

from __future__ import annotations

import ast
import contextlib
import functools
import gc
import re
from collections import Counter, defaultdict

LONGEST_MODULE = 400
LONGEST_FUNCTION = 50
MOST_MODULES = 10  # in a folder
MOST_ENTRIES, MOST_PRIVATE = 34, 14  # in the package's own folder
MOST_ROLES = 20
DATES = {"date", "datetime", "datetime.date", "datetime.datetime"}
ROLES = re.compile(r"\b(?:nobody|somebody|whoever|whatever|everybody)\b", re.IGNORECASE)
VAGUE_HELPERS = {"_text", "_plain", "_words", "_outcome"}
VAGUE_MODULES = {"utils", "helpers", "common", "manager", "handler", "holder", "misc"}
PLAIN_PRIVATE = {"_asdict", "_exit", "_fields", "_replace"}  # public in all but their names


class SourceTree:
    """The modules of the package below `root`, by dotted name: their paths, texts, syntax trees and imports."""

    def __init__(self, root):
        self.root = root
        self.paths = {self._name(path): path for path in sorted((root / "tinkex").rglob("*.py"))}
        self.texts = {name: path.read_text() for name, path in self.paths.items()}
        with uncollected():
            self.trees = {name: ast.parse(text) for name, text in self.texts.items()}
            self.kinds = {name: nodes_by_kind(tree) for name, tree in self.trees.items()}

    def _name(self, path):
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @functools.cached_property
    def imports(self):
        """The modules of the package that each module imports, also lazily and for its types."""
        return {
            name: {self.module_of(found) for found in names} - {name, None} for name, names in self.imported.items()
        }

    @functools.cached_property
    def imported(self):
        """Every dotted name that each module imports anywhere."""
        return {name: list(imported_names(kinds)) for name, kinds in self.kinds.items()}

    def module_of(self, dotted):
        """The module that a dotted name is, or stands in; None outside the package."""
        known = dotted if dotted in self.paths else dotted.rpartition(".")[0]
        return known if known in self.paths else None

    @functools.cached_property
    def entries(self):
        """The names of what stands in the package's own folder: modules and packages."""
        return sorted({name.split(".")[1] for name in self.paths if "." in name})

    def walk(self, *wanted):
        """Every syntax node of these kinds, with its module's name."""
        return ((name, node) for name, kinds in self.kinds.items() for kind in wanted for node in kinds[kind])


@contextlib.contextmanager
def uncollected():
    """Collect no garbage while many objects are made that stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def nodes_of(tree):
    """Every syntax node of a tree, as `ast.walk` has them, in half the time."""
    nodes = [tree]
    for node in nodes:
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                nodes += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST):
                nodes.append(value)
    return nodes


def nodes_by_kind(tree):
    """The syntax nodes of a tree by their class."""
    kinds = defaultdict(list)
    for node in nodes_of(tree):
        kinds[type(node)].append(node)
    return kinds


def is_within(name, *packages):
    """Whether the module is one of the packages or stands inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def imported_names(kinds):
    """Every dotted name that these nodes import."""
    for node in kinds[ast.Import]:
        yield from (alias.name for alias in node.names)
    for node in kinds[ast.ImportFrom]:
        assert node.level == 0, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def entry_of(name):
    """The entry of the package's folder that a module stands in; the package itself for its own module."""
    return ".".join(name.split(".")[:2])


def is_private(dotted):
    """Whether a part of a dotted name is private."""
    return any(part.startswith("_") and not part.startswith("__") for part in dotted.split("."))


# --- Imports


def ring(edges):
    """The nodes that stand on a cycle, or between two."""
    remaining = {name: set(targets) for name, targets in edges.items()}
    while True:
        targets = set().union(*remaining.values())
        free = {name for name, found in remaining.items() if not found & remaining.keys() or name not in targets}
        if not free:
            return sorted(remaining)
        remaining = {name: found - free for name, found in remaining.items() if name not in free}


def module_cycles(tree):
    """No module imports itself through others, not even lazily or for its types."""
    return ring(tree.imports)


def package_cycles(tree):
    """No package imports itself through its neighbours: at every level, what stands side by side is without cycles."""
    levels = {}
    for name, targets in tree.imports.items():
        for target in targets:
            here, there = name.split("."), target.split(".")
            depth = next((i for i, pair in enumerate(zip(here, there, strict=False)) if pair[0] != pair[1]), None)
            if depth is not None:
                level = levels.setdefault(".".join(here[:depth]), {})
                level.setdefault(".".join(here[: depth + 1]), set()).add(".".join(there[: depth + 1]))
    return [f"{home}: {' '.join(found)}" for home, level in sorted(levels.items()) if (found := ring(level))]


def upward_imports(tree, layers, programs, besides=()):
    """An entry that is no program has a layer, and imports only lower layers."""
    heights = {f"tinkex.{entry}": height for height, layer in enumerate(layers) for entry in layer}
    known = {*heights, *(f"tinkex.{name}" for name in programs)}
    found = [f"{name} has no layer" for entry in tree.entries if (name := f"tinkex.{entry}") not in known]
    for name, targets in tree.imports.items():
        height = heights.get(entry_of(name))
        for target in () if height is None else targets:
            ends = entry_of(name), entry_of(target)
            if ends[0] != ends[1] and ends not in besides and heights.get(ends[1], len(layers)) >= height:
                found.append(f"{name} -> {target}")
    return found


def importers(tree, package, programs):
    """The modules, programs aside, that import a package from elsewhere."""
    return [
        name
        for name, names in tree.imported.items()
        if entry_of(name).removeprefix("tinkex.") not in programs
        and any(is_within(imported, package) for imported in names)
    ]


def clock_readers(tree, programs):
    """The modules, programs aside, that import `time`, or ask datetime what time it is."""
    asking = {
        name
        for name, node in tree.walk(ast.Attribute)
        if node.attr in ("now", "utcnow", "today") and ast.unparse(node.value) in DATES
    }
    candidates = asking | set(importers(tree, "time", programs))
    return sorted(name for name in candidates if entry_of(name).removeprefix("tinkex.") not in programs)


def foreign_imports(tree, module, packages):
    """A module imports only public modules and these packages."""
    inside = [f"tinkex.{package}" for package in packages]
    return [f"{module} -> {target}" for target in tree.imports[module]
            if is_private(entry_of(target)) and not is_within(target, *inside)]  # fmt: skip


def loaded_first(tree, module, allowed):
    """A module loads only these packages when it is loaded itself."""
    statements = [node for node in tree.trees[module].body if isinstance(node, ast.Import | ast.ImportFrom)]
    kinds = {kind: [node for node in statements if isinstance(node, kind)] for kind in (ast.Import, ast.ImportFrom)}
    return [f"{module} -> {name}" for name in imported_names(kinds) if name.partition(".")[0] not in allowed]


def inside_uses(tree, programs):
    """The private names that programs use of others: pairs of a module and a dotted name, or an attribute."""
    homes = {f"tinkex.{name}" for name in programs}
    for name, kinds in tree.kinds.items():
        if entry_of(name) not in homes:
            continue
        for imported in tree.imported[name]:
            target = tree.module_of(imported)
            if target is not None and entry_of(target) != entry_of(name) and is_private(imported):
                yield name, imported
        for node in kinds[ast.Attribute]:
            private = is_private(node.attr) and node.attr not in PLAIN_PRIVATE
            if private and ast.unparse(node.value) not in ("self", "cls"):
                yield name, f".{node.attr}"


def inside_violations(tree, programs, allowed):
    """Programs use public names only, but for what is allowed, each with a reason; and that is all needed."""
    unused = dict(allowed)
    found = []
    for name, used in inside_uses(tree, programs):
        reasons = [pair for pair in allowed if is_within(name, pair[0]) and is_within(used, pair[1])]
        for pair in reasons:
            unused.pop(pair, None)
        if not reasons:
            found.append(f"{name} uses {used}")
    return found + [f"{home} does not use {used}" for home, used in unused]


# --- Sizes


def long_modules(tree):
    """A module fits in a few screens."""
    return [name for name, text in tree.texts.items() if len(text.splitlines()) > LONGEST_MODULE]


def code_length(function):
    """The lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def long_functions(tree):
    """A function fits on a screen."""
    functions = tree.walk(ast.FunctionDef, ast.AsyncFunctionDef)
    return [f"{name}.{node.name}" for name, node in functions if code_length(node) > LONGEST_FUNCTION]


def full_folders(tree):
    """A folder below the package's own holds few modules."""
    counts = Counter(path.parent for path in tree.paths.values() if path.name != "__init__.py")
    del counts[tree.root / "tinkex"]  # its entries have a limit of their own
    return [str(folder.relative_to(tree.root)) for folder, count in counts.items() if count > MOST_MODULES]


def too_many_entries(tree, besides=()):
    """The package's own folder holds few entries, `besides` apart, and fewer private ones."""
    entries = [path.name for path in (tree.root / "tinkex").iterdir() if path.name != "__pycache__"]
    counted = [name for name in entries if name.removesuffix(".py") not in besides]
    private = [name for name in counted if is_private(name.removesuffix(".py"))]
    found = [f"{len(counted)} entries"] if len(counted) > MOST_ENTRIES else []
    return found + ([f"{len(private)} private entries"] if len(private) > MOST_PRIVATE else [])


# --- Names and words


def shared_class_names(tree):
    """No two classes share a name."""
    homes = {}
    for name, node in tree.walk(ast.ClassDef):
        homes.setdefault(node.name, []).append(name)
    return [f"{name}: {' '.join(modules)}" for name, modules in homes.items() if len(modules) > 1]


def vague_names(tree):
    """No module has a name that could mean anything, and no helper of such a name stands in several modules."""
    found = [name for name in tree.paths if name.rpartition(".")[2].lstrip("_") in VAGUE_MODULES]
    homes = {}
    for name, source in tree.trees.items():
        for node in source.body:
            if isinstance(node, ast.FunctionDef) and node.name in VAGUE_HELPERS:
                homes.setdefault(node.name, []).append(name)
    return found + [f"{name}: {' '.join(modules)}" for name, modules in homes.items() if len(modules) > 1]


def roles_without_a_name(tree):
    """A role goes by its name: the caller, the worker, a queued task."""
    counts = {name: count for name, text in tree.texts.items() if (count := len(ROLES.findall(text)))}
    return [f"{name}: {count}" for name, count in counts.items()] if sum(counts.values()) > MOST_ROLES else []


def undescribed_packages(tree, page):
    """Every private package has its paragraph on the page: a term, and at least a line that describes it."""
    packages = [path.name for path in (tree.root / "tinkex").iterdir() if path.is_dir() and is_private(path.name)]
    described = set(re.findall(r"^``(\w+)``[^\n]*\n    [^\n]{40,}", page, re.MULTILINE))
    return sorted(set(packages) - described)
