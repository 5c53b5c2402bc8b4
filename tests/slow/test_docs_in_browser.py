"""The pages of the documentation in a real browser: they fit every screen, show their pictures, and copy their code."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from browsing import chromium, ink_and_paper

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
for needed in ("furo", "jinja2"):
    pytest.importorskip(needed)

DOCS = pathlib.Path(__file__).parents[2] / "docs"
SIZES = {"wide": (1280, 900), "narrow": (390, 800)}
WIDER = """() => [...document.querySelectorAll('article *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.table-wrapper, .highlight, svg'))
    .map(e => e.tagName + ' ' + e.textContent.slice(0, 60))"""
THIN = """() => [...document.querySelectorAll('article :is(td, th)')]
    .filter(e => e.getBoundingClientRect().width < 45 && e.textContent.trim().length > 8)
    .map(e => 'thin: ' + e.textContent.trim().slice(0, 60))"""
BROKEN = "() => [...document.images].filter(i => !i.naturalWidth).map(i => i.src)"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages, built."""
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "-b", "html", DOCS, built]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return built


@pytest.fixture(scope="module")
def browser():
    """A browser without a window."""
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page(site, browser, size, scheme):
    """No page scrolls sideways, no cell is too narrow to read, every picture is there, nothing is fetched."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, asked, faults = context.new_page(), [], {}
    page.on("request", lambda request: asked.append(request.url))
    for file in sorted(site.rglob("*.html")):
        page.goto(file.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth") > width
        found = [*(page.evaluate(WIDER) if wide else ()), *page.evaluate(THIN), *page.evaluate(BROKEN)]
        if found or wide:
            faults[str(file.relative_to(site))] = found
    ink, paper = ink_and_paper(page)
    context.close()
    assert faults == {}
    assert (ink < paper) == (scheme == "light")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_old_links_to_names(site, browser):
    """A link to a name on the one page that the reference once was leads to the name on its page of today."""
    page = browser.new_page()
    for name, now in (
        ("tinkex.SamplingClient.sample", "api/sampling_client.html"),
        ("tinkex.bulk.run", "api/bulk.html"),
        ("tinkex.testing.FakeServer", "api/testing.html"),
    ):
        page.goto(f"{(site / 'api.html').as_uri()}#{name}")
        page.wait_for_url(f"**/{now}#{name}")
        assert page.evaluate("document.getElementById(location.hash.slice(1)) != null")
        page.goto("about:blank")
    page.goto(f"{(site / 'api.html').as_uri()}#tinkex.no_such_name")
    assert page.url.endswith("api.html#tinkex.no_such_name")
    page.close()


COVERED = """() => [...document.querySelectorAll('button.copy')].filter(b => {
    const below = b.getBoundingClientRect().bottom, text = document.createRange();
    text.selectNodeContents(b.parentElement.querySelector('pre'));
    return Math.min(...[...text.getClientRects()].filter(r => r.width).map(r => r.top)) < below;
}).map(b => b.parentElement.textContent.slice(0, 60))"""


@pytest.mark.parametrize(
    "options", [{"viewport": {"width": 390, "height": 800}}, {"has_touch": True, "is_mobile": True}]
)
def test_the_button_covers_no_code_where_it_is_always_seen(site, browser, options):
    """On a narrow or touched screen the button that copies stands above the first line of its block."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto((site / "cookbook.html").as_uri())
    assert page.locator("button.copy").count() > 15
    assert page.evaluate(COVERED) == []
    context.close()


PROGRAM = """
Code
====

.. code-block:: python

    import tinkex

    print(1)

>>> for each in (1,):
...     print(each)
1

.. code-block:: console

    $ tinkex models
    one
    $ tinkex doctor

.. code-block:: text

    nothing to type
"""


def test_copying(browser, tmp_path):
    """A button copies a block: all of a program, what is typed of a session; what is printed has none."""
    (tmp_path / "index.rst").write_text(PROGRAM)
    (tmp_path / "_static").symlink_to(DOCS / "_static")
    settings = ["html_theme=furo", "html_static_path=_static", "html_css_files=tinkex.css", "html_js_files=copy.js"]
    options = [part for setting in settings for part in ("-D", setting)]
    command = [sys.executable, "-m", "sphinx", "-q", "-C", *options, "-b", "html", tmp_path, tmp_path / "built"]
    subprocess.run(command, check=True, timeout=60)
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto((tmp_path / "built" / "index.html").as_uri())
    copied = []
    for button in page.locator("button.copy").all():
        button.click()
        page.wait_for_function("button => button.textContent == 'Copied'", arg=button.element_handle())
        copied.append(page.evaluate("navigator.clipboard.readText()"))
    context.close()
    assert copied == [
        "import tinkex\n\nprint(1)\n",
        "for each in (1,):\n    print(each)\n",
        "tinkex models\ntinkex doctor\n",
    ]
