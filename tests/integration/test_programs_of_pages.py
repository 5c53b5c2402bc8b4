"""What pages say of the server that their programs sample from."""

from __future__ import annotations

import re

import documented
import pytest

PAGES = {page.stem: page for page in [documented.ROOT / "README.rst", *documented.PAGES]}


def code_of(page):
    """The programs on a page and those that it shows, with their comments; and the same without comments."""
    names = re.findall(r"^\.\. literalinclude:: (.*\.py)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    shown = [(page.parent / name).read_text(encoding="utf-8") for name in names]
    code = "\n".join([*documented.programs_of(page), *shown])
    return code, re.sub(r"#.*", "", code)


#: Pages with programs that are told by the environment which server it is, and what the page says to try them.
TOLD = {
    "migration": "TINKER_BASE_URL=http://127.0.0.1:8000",  # programs of the official SDK, and the same with tinkex
    "testing": "tinkex_server",  # the fixture sets the environment
    "web_servers": "export TINKER_BASE_URL=http://127.0.0.1:8001",  # whole applications, the same for any server
}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_what_programs_sample_from(name):
    """Programs need no key, and the page says which line is another for the hosted service; or how to try them."""
    text = PAGES[name].read_text(encoding="utf-8")
    code, bare = code_of(PAGES[name])
    if re.search(r"(?<!else tinkex\.)\bServiceClient\(\)", bare):
        assert TOLD[name] in text
    elif re.search(r"ServiceClient\.(?:local|direct)\(|base_url=server\.url", bare):
        assert "ServiceClient()" in text + code


@pytest.mark.parametrize("name", sorted(PAGES))
def test_what_commands_sample_from(name):
    """A page with the output of commands that sample from a server says how to start one without a key."""
    text = PAGES[name].read_text(encoding="utf-8")
    commands = re.findall(r"^    \$ tinkex (?!local|completion|batch report|--)(.*)$", text, re.MULTILINE)
    if any(not re.search("--(?:local|help|dry-run)", command) for command in commands):
        assert "python -m tinkex.testing" in text


def test_both_kinds_are_found():
    """A few pages have programs for the hosted service, and most have programs that need no key."""
    found = {name: code_of(page)[1] for name, page in PAGES.items()}
    assert all("ServiceClient(" in found[name] for name in TOLD)
    assert "ServiceClient.local()" in found["README"]
