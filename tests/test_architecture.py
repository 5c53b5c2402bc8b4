"""The shape of the package, read from its source; and a small package for each rule, in which it is broken."""

from __future__ import annotations

import ast
import importlib
import pathlib
import subprocess
import sys
import tomllib

import architecture as rules
import pytest
from architecture import SourceTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Not counted among the entries.
LATER = ("chat", "instrumentation", "text", "check", "serve", "compat", "lm_eval", "plugins", "otel", "prometheus")
PROGRAMS = ("bulk", "cli", "report", "local", "testing", "ray", "web", *LATER[3:])
PROGRAMS += ("__main__", "_pytest_plugin", "_server")

# From the bottom up: a package imports only what stands in a lower line, or itself.
LAYERS = (
    ("_concurrency", "_identity", "_validation"),
    ("errors",),
    ("_logging", "config", "tokenizers"),
    ("credentials", "queue_state", "telemetry", "types"),
    ("chat", "future", "instrumentation"),
    ("_runtime", "_wire", "text"),
    ("_transport", "listing"),
    ("_api",),
    ("_sampling",),
    ("_service",),
    ("_handle", "sampling_client"),
    ("service_client",),
)
UPWARD = {("tinkex.service_client", "tinkex.local")}  # `ServiceClient.local()`, where its extra is installed

# What programs use of the client's inside: the module or package that does, what it uses, and why.
ALLOWED_INSIDE = {
    ("tinkex.bulk", "tinkex._concurrency.clock"): "tests move a run's time by hand, as they do the client's",
    ("tinkex.bulk._engine", "tinkex._sampling.stream"): "a run begins and ends its samples as sample_many() does",
    ("tinkex.bulk._engine", "._report_to"): "many futures end on one queue, as those of sample_many() do",
    ("tinkex.bulk", "tinkex._validation"): "text files and numbers are read, and refused, in one way everywhere",
    **{
        (program, "tinkex._validation"): "numbers are refused in one way everywhere"
        for program in ("tinkex._server", "tinkex.local", "tinkex.serve", "tinkex.testing")
    },
    ("tinkex.check.checks.protocol", "tinkex._wire"): "results in plain requests are read as a client reads them",
    ("tinkex.check", "tinkex._validation.field_docs"): "help() explains fields in one way everywhere",
    **{
        (program, "tinkex._validation.public_names"): "dir() shows public names alone everywhere"
        for program in ("tinkex.check", "tinkex.compat", "tinkex.ray")
    },
    ("tinkex.check.wire", "tinkex._identity"): "which go under the client's name and version",
    ("tinkex.cli.options.prompt", "tinkex._validation.text"): "text files are read in one way everywhere",
    ("tinkex.cli.options.settings", "tinkex._transport.dial"): "the proxy shown is the one that a client would take",
    ("tinkex.cli.doctor.network", "tinkex._identity"): "a proxy is asked in the client's name, by which it may decide",
    ("tinkex.cli.doctor.network", "tinkex._transport.dial"): "certificates are verified exactly as a client does",
    ("tinkex.cli.doctor.service", "tinkex._api"): "the doctor calls endpoints one by one that clients call in one go",
    ("tinkex.cli.doctor.service", "tinkex._identity"): "which say which version asks them",
    ("tinkex.cli.doctor.service", "tinkex._runtime"): "and are called in coroutines",
    ("tinkex.cli.doctor.service", "tinkex._service"): "on the runtime of a client",
    ("tinkex.cli.doctor.service", "._lifecycle"): "which the client has",
    (
        "tinkex.compat",
        "tinkex._concurrency.fork_locks",
    ): "its locks, too, are open in a forked child",
    ("tinkex.local", "tinkex._server"): "the local model and the fake server share the protocol's other side",
    ("tinkex.serve.app", "tinkex._server.guard"): "requests of pages, and keys, are judged in one way by all servers",
    ("tinkex.testing", "tinkex._server"): "the local model and the fake server share the protocol's other side",
    ("tinkex.local.model.ik_library", "._lib"): "the bindings of llama.cpp offer some of its functions nowhere else",
    ("tinkex.ray", "tinkex.bulk"): "the engine on Ray is one of bulk's, and rebuilds its rows in other processes",
    (
        "tinkex.report.data.row",
        "tinkex._wire.json_bytes",
    ): "outputs of gigabytes are read with orjson where it is there",
}

HEAVY = {
    *("PIL", "aiohttp", "altair", "click", "jinja2", "numpy", "orjson", "requests", "rich", "tenacity", "tokenizers"),
    *("asyncio", "attrs", "email", "hashlib", "html", "http", "inspect", "ipaddress", "json", "logging", "pathlib"),
    *("platform", "socket", "ssl", "subprocess", "threading", "urllib", "urllib3", "uuid"),
}


@pytest.fixture(scope="module")
def tree():
    """The package's own source."""
    return SourceTree(ROOT)


@pytest.mark.parametrize(
    "rule",
    [
        *(rules.module_cycles, rules.package_cycles, rules.long_modules, rules.long_functions, rules.full_folders),
        *(rules.shared_class_names, rules.vague_names, rules.roles_without_a_name),
    ],
)
def test_shape(tree, rule):
    """Neither modules nor packages import in circles; all are small; names and words say something."""
    assert rule(tree) == []


def test_imports_point_down(tree):
    """Every entry has its layer, and imports only lower ones."""
    assert rules.upward_imports(tree, LAYERS, PROGRAMS, UPWARD) == []


def test_programs_use_public_names(tree):
    """What stands on top uses public names, but for a list in which each entry has its reason."""
    assert rules.inside_violations(tree, PROGRAMS, ALLOWED_INSIDE) == []


def test_few_entries(tree):
    """The package's own folder can be taken in at a glance."""
    assert rules.too_many_entries(tree, LATER) == []


def test_what_a_sample_is_made_of(tree):
    """The coroutine of a sample knows the API, the runtime, the wire format and its own package, and nothing else."""
    assert rules.foreign_imports(tree, "tinkex._sampling.sample", ("_api", "_runtime", "_wire", "_sampling")) == []


def test_every_private_package_is_described(tree):
    """The page on the internals says of every private package what it knows."""
    assert rules.undescribed_packages(tree, (ROOT / "docs" / "internals.rst").read_text()) == []


@pytest.mark.parametrize("package", ["requests", "tenacity"])
def test_one_importer(tree, package):
    """One module of the client imports requests, and one imports tenacity."""
    assert len(rules.importers(tree, package, PROGRAMS)) == 1


def test_one_reader_of_clocks(tree):
    """Only `_concurrency.clock` reads a clock: everything else is given one."""
    assert rules.clock_readers(tree, PROGRAMS) == ["tinkex._concurrency.clock"]


def test_import_is_light():
    """`import tinkex` loads no other library, no extra, and little of the standard library."""
    script = "import sys, tinkex; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert HEAVY & set(loaded) == set()


def test_plugins_are_light(tree):
    """What programs load at every start, by entry points, imports nothing at first but the programs themselves."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for program in ("inspect_ai", "llm"):
        for module in ("tinkex.plugins", *points[program].values()):
            assert rules.loaded_first(tree, module, ("__future__", "typing", program)) == []


def test_public_names_exist():
    """Every public name can be fetched from the package, and the list is sorted."""
    import tinkex

    assert [name for name in tinkex.__all__ if not hasattr(tinkex, name)] == []
    assert sorted(tinkex.__all__) == list(tinkex.__all__)
    assert set(tinkex.__all__) <= set(dir(tinkex)) <= {*tinkex.__all__, *PUBLIC_MODULES}
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tinkex.no_such_name


def test_public_names_are_what_type_checkers_see(tree):
    """What a name is when the program runs is what the imports for type checkers say."""
    import tinkex

    seen = {
        alias.name: importlib.import_module(node.module)
        for node in tree.kinds["tinkex"][ast.ImportFrom]
        if node.module.startswith("tinkex.")
        for alias in node.names
    }
    assert sorted({*seen}) == tinkex.__all__
    assert [name for name, module in seen.items() if getattr(tinkex, name) is not getattr(module, name)] == []


PUBLIC_MODULES = (
    *("chat", "config", "credentials", "errors", "future", "instrumentation", "queue_state", "telemetry", "types"),
    *("bulk", "check", "local", "report", "tokenizers", "web"),
)
FETCH_ALONE = """
import sys
for name in sys.argv[1:]:
    for loaded in [each for each in sys.modules if each.partition(".")[0] == "tinkex"]:
        del sys.modules[loaded]
    import tinkex
    print(getattr(tinkex, name).__name__)
"""


def test_public_modules_are_attributes():
    """`tinkex.types.ModelInput` works after `import tinkex` alone."""
    command = [sys.executable, "-c", FETCH_ALONE, *PUBLIC_MODULES]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.split() == [f"tinkex.{name}" for name in PUBLIC_MODULES]


# --- Each rule can fail

SMALL_LAYERS = (("base",), ("_low",), ("_high",))
SMALL_PROGRAMS = ("tool",)
SMALL_ALLOWED = {("tinkex.tool", "tinkex._low.wire"): "it shows what is sent"}
PAGE = """
``_low``
    Knows the wire, and that is all there is to know about it.

``_high``
    Knows what the wire is good for, and nothing of sockets.
"""
GOOD = {
    "__init__": "",
    "base": "class Base: ...\n",
    "_low/__init__": "",
    "_low/wire": "import requests\nimport time\nfrom tinkex import base\n\ndef _text(value): ...\n",
    "_high/__init__": "",
    "_high/sample": "from tinkex._low.wire import send\nfrom tinkex.base import Base\n",
    "_high/other": "class Other: ...\n",
    "tool": "from tinkex._low.wire import send\nfrom tinkex.base import Base\nself._own\n",
}
LONG = "def long():\n" + "    pass\n" * 51

RULES = {
    "module cycles": rules.module_cycles,
    "package cycles": rules.package_cycles,
    "upward imports": lambda tree: rules.upward_imports(tree, SMALL_LAYERS, SMALL_PROGRAMS),
    "importers": lambda tree: rules.importers(tree, "requests", SMALL_PROGRAMS)[1:],
    "clock readers": lambda tree: rules.clock_readers(tree, SMALL_PROGRAMS)[:-1],
    "foreign imports": lambda tree: rules.foreign_imports(tree, "tinkex._high.sample", ("_low", "_high")),
    "inside": lambda tree: rules.inside_violations(tree, SMALL_PROGRAMS, SMALL_ALLOWED),
    "loaded first": lambda tree: rules.loaded_first(tree, "tinkex._low.wire", ("requests", "time", "tinkex")),
    "long modules": rules.long_modules,
    "long functions": rules.long_functions,
    "full folders": rules.full_folders,
    "entries": lambda tree: rules.too_many_entries(tree, ("later",)),
    "class names": rules.shared_class_names,
    "vague names": rules.vague_names,
    "roles": rules.roles_without_a_name,
    "pages": lambda tree: rules.undescribed_packages(tree, PAGE),
}
# The rule, what stands in which module instead, and what it finds.
MUTANTS = [
    (
        "module cycles",
        {"base": "import tinkex.base2\n", "base2": "def late():\n    from tinkex import base\n"},
        ["tinkex.base", "tinkex.base2"],
    ),
    ("package cycles", {"_low/deep": "from tinkex._high import other\n"}, ["tinkex: tinkex._high tinkex._low"]),
    (
        "package cycles",
        {
            "tool/a/x": "import tinkex.tool.b.x\n",
            "tool/b/x": "",
            "tool/b/y": "import tinkex.tool.a.z\n",
            "tool/a/z": "",
        },
        ["tinkex.tool: tinkex.tool.a tinkex.tool.b"],
    ),
    ("upward imports", {"base": "from tinkex._high.other import Other\n"}, ["tinkex.base -> tinkex._high.other"]),
    ("upward imports", {"base": "from tinkex._low import wire\n"}, ["tinkex.base -> tinkex._low.wire"]),
    ("upward imports", {"base": "if TYPE_CHECKING:\n    import tinkex.tool\n"}, ["tinkex.base -> tinkex.tool"]),
    ("upward imports", {"stray": ""}, ["tinkex.stray has no layer"]),
    ("importers", {"_high/other": "def late():\n    from requests.adapters import x\n"}, ["tinkex._low.wire"]),
    ("clock readers", {"_high/other": "import datetime\ndatetime.datetime.now()\n"}, ["tinkex._high.other"]),
    ("clock readers", {"_high/other": "from time import sleep\n"}, ["tinkex._high.other"]),
    (
        "foreign imports",
        {"_high/sample": "from tinkex._aside import x\n", "_aside": ""},
        ["tinkex._high.sample -> tinkex._aside"],
    ),
    ("inside", {"tool": GOOD["tool"] + "import tinkex._high.other\n"}, ["tinkex.tool uses tinkex._high.other"]),
    ("inside", {"tool": GOOD["tool"] + "from tinkex.base import _hidden\n"}, ["tinkex.tool uses tinkex.base._hidden"]),
    ("inside", {"tool": GOOD["tool"] + "Base()._hidden\n"}, ["tinkex.tool uses ._hidden"]),
    ("inside", {"tool": "from tinkex.base import Base\n"}, ["tinkex.tool does not use tinkex._low.wire"]),
    ("loaded first", {"_low/wire": "import json\ndef later():\n    import rich\n"}, ["tinkex._low.wire -> json"]),
    ("long modules", {"base": "\n" * 401}, ["tinkex.base"]),
    ("long functions", {"base": LONG}, ["tinkex.base.long"]),
    ("long functions", {"base": "async " + LONG}, ["tinkex.base.long"]),
    ("full folders", {f"_high/part{number}": "" for number in range(9)}, ["tinkex/_high"]),
    ("entries", {f"part{number}": "" for number in range(30)}, ["35 entries"]),
    ("entries", {f"_part{number}": "" for number in range(13)}, ["15 private entries"]),
    ("class names", {"_high/other": "class Outer:\n    class Base: ...\n"}, ["Base: tinkex._high.other tinkex.base"]),
    ("vague names", {"_high/_helpers": ""}, ["tinkex._high._helpers"]),
    ("vague names", {"_high/other": "def _text(value): ...\n"}, ["_text: tinkex._high.other tinkex._low.wire"]),
    ("roles", {"base": '"""Whoever wants to know."""\n' + "# nobody's, whatever it is\n" * 10}, ["tinkex.base: 21"]),
    ("pages", {"_aside/__init__": ""}, ["_aside"]),
]


@pytest.fixture
def build(tmp_path):
    """Write the good package with some modules changed; its source tree."""

    def build(changes):
        modules = {name: text for name, text in GOOD.items() if not any(new.startswith(name + "/") for new in changes)}
        for name, text in {**modules, **changes}.items():
            path = tmp_path / "tinkex" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return SourceTree(tmp_path)

    return build


@pytest.mark.parametrize("rule", RULES)
def test_good_package(build, rule):
    """The good package breaks no rule."""
    assert RULES[rule](build({})) == []


@pytest.mark.parametrize(("rule", "changes", "found"), MUTANTS)
def test_mutant(build, rule, changes, found):
    """A package in which a rule is broken is found out, and the place is named."""
    assert RULES[rule](build(changes)) == found


def test_every_rule_has_a_mutant():
    """No rule goes without a package that breaks it."""
    assert {rule for rule, _, _ in MUTANTS} == set(RULES)


def test_entries_that_are_not_counted(build):
    """Entries that come later do not count."""
    entries = {f"part{number}": "" for number in range(29)}
    assert rules.too_many_entries(build({**entries, "later": ""}), ("later",)) == []


def test_a_word_is_no_description(build):
    """A paragraph of one word does not describe a package."""
    assert rules.undescribed_packages(build({}), PAGE.replace("Knows the wire, and", "Bytes.\n\n")) == ["_low"]
