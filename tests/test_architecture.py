"""The shape of the package, read from its source; `unit/test_architecture_rules.py` shows that each rule can fail."""

from __future__ import annotations

import ast
import functools
import importlib
import pathlib
import subprocess
import sys

import pytest
from architecture import (
    SourceTree,
    clock_readers,
    foreign_imports,
    full_folders,
    importers,
    inside_violations,
    long_functions,
    long_modules,
    module_cycles,
    package_cycles,
    roles_without_a_name,
    shared_class_names,
    too_many_entries,
    undescribed_packages,
    upward_imports,
    vague_names,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
LATER = ("chat", "serve", "compat", "lm_eval", "plugins", "otel", "prometheus")  # not counted among the entries
PROGRAMS = (
    "bulk",
    "cli",
    "report",
    "local",
    "testing",
    "ray",
    "web",
    *LATER[1:],
    "__main__",
    "_pytest_plugin",
    "_server",
)

# From the bottom up: a package imports only what stands in a lower line, or itself.
LAYERS = (
    ("_concurrency", "_identity", "_validation", "errors"),
    ("_logging", "config", "tokenizers"),
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
UPWARD = {("tinkex.service_client", "tinkex.local")}  # `ServiceClient.local()`, where its extra is installed

# What programs use of the client's inside: the module or package that does, what it uses, and why.
ALLOWED_INSIDE = {
    ("tinkex.bulk", "tinkex._concurrency.clock"): "tests move a run's time by hand, as they do the client's",
    ("tinkex.bulk._engine", "tinkex._sampling.stream"): "a run begins and ends its samples as sample_many() does",
    ("tinkex.bulk", "tinkex._validation"): "text files and numbers are read, and refused, in one way everywhere",
    ("tinkex.cli.options.prompt", "tinkex._validation.text"): "text files are read in one way everywhere",
    ("tinkex.cli.options.settings", "tinkex._transport.dial"): "the proxy shown is the one that a client would take",
    ("tinkex.cli.doctor.network", "tinkex._identity"): "a proxy is asked in the client's name, by which it may decide",
    ("tinkex.cli.doctor.network", "tinkex._transport.dial"): "certificates are verified exactly as a client does",
    ("tinkex.cli.doctor.service", "tinkex._api"): "the doctor calls endpoints one by one that clients call in one go",
    ("tinkex.cli.doctor.service", "tinkex._identity"): "which say which version asks them",
    ("tinkex.cli.doctor.service", "tinkex._runtime"): "and are called in coroutines",
    ("tinkex.cli.doctor.service", "tinkex._service"): "on the runtime of a client",
    ("tinkex.cli.doctor.service", "._lifecycle"): "which the client has",
    ("tinkex.local", "tinkex._server"): "the local model and the fake server share the protocol's other side",
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


@functools.cache
def tree():
    """The package's own source."""
    return SourceTree(ROOT)


@pytest.mark.parametrize(
    "rule",
    [
        module_cycles, package_cycles, long_modules, long_functions, full_folders, shared_class_names, vague_names,
        roles_without_a_name,
    ],
)  # fmt: skip
def test_shape(rule):
    """Neither modules nor packages import in circles; all are small; names and words say something."""
    assert rule(tree()) == []


def test_imports_point_down():
    """Every entry has its layer, and imports only lower ones."""
    assert upward_imports(tree(), LAYERS, PROGRAMS, UPWARD) == []


def test_programs_use_public_names():
    """What stands on top uses public names, but for a list in which each entry has its reason."""
    assert inside_violations(tree(), PROGRAMS, ALLOWED_INSIDE) == []


def test_few_entries():
    """The package's own folder can be taken in at a glance."""
    assert too_many_entries(tree(), LATER) == []


def test_what_a_sample_is_made_of():
    """The coroutine of a sample knows the API, the runtime, the wire format and its own package, and nothing else."""
    assert foreign_imports(tree(), "tinkex._sampling.sample", ("_api", "_runtime", "_wire", "_sampling")) == []


def test_every_private_package_is_described():
    """The page on the internals says of every private package what it knows."""
    assert undescribed_packages(tree(), (ROOT / "docs" / "internals.rst").read_text()) == []


@pytest.mark.parametrize("package", ["requests", "tenacity"])
def test_one_importer(package):
    """One module of the client imports requests, and one imports tenacity."""
    assert len(importers(tree(), package, PROGRAMS)) == 1


def test_one_reader_of_clocks():
    """Only `_concurrency.clock` reads a clock: everything else is given one."""
    assert clock_readers(tree(), PROGRAMS) == ["tinkex._concurrency.clock"]


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
        for node in ast.walk(tree().trees["tinkex"])
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
