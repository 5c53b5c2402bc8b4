"""What holds for every test: no settings come from the environment; what was imported costs no collection time."""

from __future__ import annotations

import gc
import os
import pathlib
import signal
from collections import Counter

import pytest

OTHER_TIERS = {str(pathlib.Path(__file__).with_name(name)) for name in ("clients", "fuzz", "slow")}
TAKE_LONG = {
    *("test_bulk_scale.py", "test_cookbook_on_the_model.py", "test_docs_in_browser.py", "test_gallery.py"),
    *("test_interrupted.py", "test_leaks.py", "test_ray_cluster.py", "test_storm.py", "test_typed_programs.py"),
}
_FOREIGN = ("TINKER_", "TINKEX_", "CLOUDFLARE_ACCESS_")


@pytest.fixture(autouse=True)
def plain_environment(request):
    """No setting comes from the environment unless a test puts it there."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) and not name.startswith("TINKEX_TEST_"):
            request.getfixturevalue("monkeypatch").delenv(name)


def pytest_ignore_collect(collection_path, config):
    """A run of the fast tier does not even read the folders of the others."""
    if str(collection_path) in OTHER_TIERS and config.args == config.getini("testpaths"):
        usual = config.getini("addopts")
        return config.option.markexpr == usual[usual.index("-m") + 1] or None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of the cases of a test that is marked `thin(n)`, every n-th runs in the fast tier, the others in the slow one.

    Files that take longest go first, so that none is left alone at the end (with --no-loadscope-reorder).
    """
    items.sort(key=lambda item: item.path.name not in TAKE_LONG)
    cases = Counter()
    for item in items:
        for mark in item.iter_markers("thin"):
            case = item.path, item.originalname
            if cases[case] % mark.args[0]:
                item.add_marker("slow")
            cases[case] += 1


def pytest_configure():
    """Have children hear a Ctrl-C, also where a shell started this in the background and so with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def only_new_garbage():
    """Spare the test's collections of garbage a look at what is older than the test."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection():
    """Collect no garbage while tests are collected, of which none becomes garbage."""
    gc.disable()


def pytest_collection_finish():
    """Spare every collection of garbage a look at the modules and tests, and collect what is old at the end only."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure():
    """Collect all garbage once, which warns of what was not closed; pytest collects it five times more."""
    gc.collect()
    gc.freeze()
