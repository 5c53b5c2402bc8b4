"""The check that the package `tinker` is the official SDK, with stand-ins for other packages of that name."""

from __future__ import annotations

import sys
import types
import warnings

import pytest

import tinkex
from tinkex.compat import _sdk


@pytest.fixture(autouse=True)
def forgotten():
    """Each test imports the SDK for the first time."""
    _sdk.official.cache_clear()
    yield
    _sdk.official.cache_clear()


@pytest.fixture
def package(monkeypatch):
    """Puts a package in the SDK's place."""

    def put(**names):
        made = types.ModuleType("tinker")
        vars(made).update(names)
        monkeypatch.setitem(sys.modules, "tinker", made)
        return made

    return put


def test_a_version_that_was_tested(package):
    """The official SDK, of a version that was tested, is taken without a word."""
    sdk = package(__title__="tinker", __version__=_sdk.TESTED[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _sdk.official() is sdk


def test_another_version(package):
    """Another version is taken with one warning, which names both."""
    sdk = package(__title__="tinker", __version__="9.9")
    with pytest.warns(UserWarning, match=r"tested with tinker 0\.38\.0; 9\.9 is installed"):
        assert _sdk.official() is sdk
    assert _sdk.official() is sdk


@pytest.mark.parametrize("names", [{"__title__": "baseten-loops-tinker", "__version__": "0.17.0"}, {}])
def test_another_package(package, names):
    """Another package of that name is an error that says whose it is, and what to do, each time."""
    package(**names)
    for _ in range(2):
        with pytest.raises(ImportError, match=f"belongs to {names.get('__title__')}.*pip install tinker==0.38.0"):
            _sdk.official()


def test_no_package(monkeypatch):
    """Where it is not installed, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "tinker", None)
    with pytest.raises(tinkex.MissingExtraError, match=r"pip install tinker==0\.38\.0"):
        _sdk.official()
