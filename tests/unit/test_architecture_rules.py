"""Each rule of the package's shape passes a small good package, and fails one in which only that rule is broken."""

from __future__ import annotations

import architecture as rules
import pytest

LAYERS = (("base",), ("_low",), ("_high",))
PROGRAMS = ("tool",)
ALLOWED = {("tinkex.tool", "tinkex._low.wire"): "it shows what is sent"}
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
    "upward imports": lambda tree: rules.upward_imports(tree, LAYERS, PROGRAMS),
    "importers": lambda tree: rules.importers(tree, "requests", PROGRAMS)[1:],
    "clock readers": lambda tree: rules.clock_readers(tree, PROGRAMS)[:-1],
    "foreign imports": lambda tree: rules.foreign_imports(tree, "tinkex._high.sample", ("_low", "_high")),
    "inside": lambda tree: rules.inside_violations(tree, PROGRAMS, ALLOWED),
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
        return rules.SourceTree(tmp_path)

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
