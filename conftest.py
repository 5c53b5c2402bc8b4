"""How many examples property tests take; and those of the README and of docs/, run as they stand on a fake server."""

from __future__ import annotations

import doctest
import os
import re
import shlex
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from sybil import Example, Sybil
from sybil.parsers.rest import CodeBlockParser, DocTestParser, PythonCodeBlockParser, SkipParser

if TYPE_CHECKING:  # the process that only hands out the tests is spared what they run on
    import tinkex
    from tinkex.testing import FakeServer, ToyTokenizer

hypothesis.settings.register_profile("fast", max_examples=10, deadline=None)  # a slow machine fails no test
hypothesis.settings.register_profile("full", max_examples=200, deadline=None)
hypothesis.settings.load_profile("fast")  # --hypothesis-profile=full comes later, and counts

PACKAGE = Path(__file__).with_name("tinkex")
PAGES = PACKAGE.with_name("docs")
SLOW_PAGES = {"check.rst", "report.rst"}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="session")
def example_server() -> Iterator[FakeServer]:
    """The server that the examples find through their environment."""
    from tinkex.testing import FakeServer

    with FakeServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINKER_BASE_URL", server.url)
        patch.setenv("TINKER_API_KEY", "tml-example")
        yield server


class StandIn:
    """What takes the embedded model's place where it is not to be fetched: the fake server, by the model's name."""

    base_model = "HuggingFaceTB/SmolLM2-135M-Instruct"

    def get_tokenizer(self) -> ToyTokenizer:
        """Return the tokenizer of the fake server."""
        from tinkex.testing import ToyTokenizer

        return ToyTokenizer()

    def close(self) -> None:
        """Leave the server running."""

    @classmethod
    def client(cls, **_: Any) -> tinkex.ServiceClient:
        """Do what `ServiceClient.local` does."""
        import tinkex

        service = tinkex.ServiceClient.direct(os.environ["TINKER_BASE_URL"])
        service._reference.keeps = cls()  # noqa: SLF001
        return service


def set_up(namespace: dict[str, Any]) -> None:
    """Pass for a program; unless the embedded model may be fetched, have the fake server stand in for it."""
    import tinkex

    namespace["__name__"] = "__main__"
    namespace["fast_only"] = os.environ.get("TINKEX_TEST_LOCAL") != "1"
    namespace["_patch"] = patch = pytest.MonkeyPatch()
    if namespace["fast_only"]:
        patch.setattr(tinkex.ServiceClient, "local", StandIn.client)


def tear_down(namespace: dict[str, Any]) -> None:
    """Undo what was set up."""
    namespace["_patch"].undo()


def run_commands(example: Example) -> str | None:
    """Run each line that begins with `$ tinkex`, and compare what it prints with the lines below it.

    The tutorial shows what is seen at a terminal, and also runs programs.
    """
    from click.testing import CliRunner
    from terminal_output import alike, run_program, shown

    from tinkex.cli._app import app

    for line, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", example.parsed, re.MULTILINE):
        command, *arguments = shlex.split(line)
        if Path(example.path).name == "tutorial.rst":
            output = run_program(arguments) if command == "python" else shown(app, arguments)
            if not alike(expected, output):
                return f"$ {line}\nExpected:\n{expected}\nGot:\n{output}"
            continue
        assert command == "tinkex", f"{line}: only tinkex is run here"
        result = CliRunner().invoke(app, arguments, prog_name="tinkex")
        printed = result.output if result.exit_code else result.stdout
        if not doctest.OutputChecker().check_output(expected, printed, OPTIONS):
            return f"$ {line}\nExpected:\n{expected}\nGot:\n{printed}"
    return None


@pytest.hookimpl(wrapper=True, specname="pytest_collect_file")
def pytest_collect_examples(file_path: Path) -> Generator[None, list[Any], list[Any]]:
    """Look for doctests in modules of the package that have some; those of pages need what is set up for them here.

    A module of tests that cannot be imported would pass for an empty one: `--doctest-ignore-import-errors` says so.
    """
    found = yield
    unwanted = {"DoctestTextfile"}
    if PACKAGE not in file_path.parents or b">>> " not in file_path.read_bytes():
        unwanted.add("DoctestModule")
    return [each for each in found if type(each).__name__ not in unwanted]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the slow tier the pages that take seconds: one draws charts, one samples for statistics."""
    for item in items:
        if item.path.parent == PAGES and item.path.name in SLOW_PAGES:
            item.add_marker("slow")


_PROGRAMS = ("gallery", "recipes", "servers", "tutorial")
RUN_OTHERWISE = ["docs/conf.py", *(f"docs/{name}" for name in _PROGRAMS), "tests/apps", "tests/typing"]
collect_ignore = RUN_OTHERWISE
pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("console", run_commands),
        DocTestParser(OPTIONS),
        SkipParser(),
    ],
    patterns=["README.rst", "docs/*.rst"],
    fixtures=["example_server"],
    setup=set_up,
    teardown=tear_down,
).pytest()
