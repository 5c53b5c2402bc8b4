"""The playground's files, as the gateway hands them out."""

from __future__ import annotations

import re

import pytest
from gateways import MODEL, says, serving


@pytest.fixture(scope="module")
def gateway():
    """A gateway that wants a key."""
    with serving(says("Hello."), models=[MODEL], api_key="one") as asking:
        yield asking


def test_the_page_needs_no_key(gateway):
    """The page and its files are there without a key, under a policy that lets nothing else in."""
    page = gateway.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    files = re.findall(r'(?:src|href)="(playground/[^"]*)"', page.text)
    kinds = {each: gateway.get(f"/{each}").headers["Content-Type"] for each in [*files, "playground/api.js"]}
    assert kinds == {
        "playground/style.css": "text/css; charset=utf-8", "playground/page.js": "text/javascript; charset=utf-8",
        "playground/api.js": "text/javascript; charset=utf-8",
    }  # fmt: skip
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_else_is_handed_out(gateway):
    """Other files of the package are not there, nor is a key let off anywhere else."""
    for path in ("/playground/", "/playground/app.py", "/playground/..%2fapp.py", "/playground/%2e%2e/app.py"):
        assert gateway.get(path).status_code in (401, 404)
    assert gateway.get("/v1/models").status_code == 401
    assert gateway.get("/", Host="evil.example").status_code == 403


def test_no_script_and_no_style_in_the_page(gateway):
    """The policy would block them: scripts and styles in the markup, handlers in attributes, addresses elsewhere."""
    text = gateway.get("/").text
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)|https?:|//\w", text) == []
