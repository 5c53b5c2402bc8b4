"""A real browser: the Chromium that is installed, without a window, driven by playwright."""

from __future__ import annotations

import contextlib
import shutil

import pytest

SIZES = {"wide": (1280, 900), "narrow": (360, 740)}
_QUIET = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


@contextlib.contextmanager
def chromium():
    """A browser; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs chromium on the PATH (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-sync", *_QUIET])
        yield opened
        opened.close()


def ink_and_paper(page):
    """How light the page's text is, and what is behind it: 0 for black, 765 for white."""
    colours = "e => { const s = getComputedStyle(e); return [s.color, s.backgroundColor] }"
    return [sum(map(int, colour.strip("rgb()").split(","))) for colour in page.eval_on_selector("body", colours)]
