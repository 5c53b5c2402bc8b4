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


@pytest.mark.parametrize("name", sorted(PAGES))
def test_what_programs_sample_from(name):
    """A page whose programs ask the hosted service says how to try them without a key; others, which line to change."""
    text = PAGES[name].read_text(encoding="utf-8")
    code, bare = code_of(PAGES[name])
    if re.search(r"\bServiceClient\(\)", bare):
        assert "python -m tinkex.testing" in text or "FakeServer" in text
    elif re.search(r"ServiceClient\.(?:local|direct)\(|base_url=server\.url", bare):
        assert "ServiceClient()" in text + code


def test_both_kinds_are_found():
    """Some pages have programs for the hosted service, and most have programs that need no key."""
    found = {name: code_of(page)[1] for name, page in PAGES.items()}
    assert "ServiceClient()" in found["distributed"]
    assert "ServiceClient.local()" in found["README"]
