"""What `help()` says of the fields of public classes."""

from __future__ import annotations

import inspect
import pickle
import pydoc

import attrs
import pytest
from public_classes import public_classes

import tinkex
from tinkex._validation.field_docs import _read, with_field_docs

PUBLIC = public_classes()  # imported here: libraries of others try sockets when they are


@with_field_docs
@attrs.frozen
class Example:
    """An example; `named` is explained here."""

    below: int
    """What stands below it,
    in two lines."""
    #: What stands above it,
    #: in two lines.
    above: int = 1
    beside: int = 2

    bare: int = 3
    named: int = 4


def test_texts():
    """Text below a field and comments above it are its documentation, also for one right below; others have none."""
    docs = {name: inspect.getdoc(getattr(Example, name)) for name in ("below", "above", "beside", "bare")}
    assert docs == {
        "below": "What stands below it,\nin two lines.",
        "above": "What stands above it, in two lines.",
        "beside": "What stands above it, in two lines.",
        "bare": None,
    }
    assert "What stands below it," in pydoc.render_doc(Example)


def test_without_the_source(monkeypatch):
    """A program whose source is not at hand has classes all the same, and fields without documentation."""
    _read.cache_clear()
    monkeypatch.setattr(inspect, "getsource", lambda _: (_ for _ in ()).throw(OSError("no source")))
    assert inspect.getdoc(Example.below) is None
    _read.cache_clear()


def test_nothing_else_changes():
    """Such a class makes, compares, copies and pickles as before."""
    assert pickle.loads(pickle.dumps(Example(5))) == attrs.evolve(Example(4), below=5) == Example(5)
    assert set(Example.__slots__) >= {"below", "above", "beside", "bare", "named"}


def test_every_public_field_is_explained():
    """`help()` of a public class explains each field, by itself or in the text of the class."""
    unexplained = []
    for each in PUBLIC:
        for field in getattr(each, "__attrs_attrs__", ()):
            said = inspect.getdoc(inspect.getattr_static(each, field.name, None)) or ""
            if not field.name.startswith("_") and not said and field.name not in (each.__doc__ or ""):
                unexplained.append(f"{each.__name__}.{field.name}")
    assert unexplained == []
    assert "Seconds to wait for a connection" in pydoc.render_doc(tinkex.ClientConfig)
    assert "last_heard (float | None): When the server" in pydoc.render_doc(tinkex.SampleFuture)


@pytest.mark.parametrize("each", [tinkex.SampleFuture, tinkex.SamplingClient, tinkex.ServiceClient])
def test_names_of_the_inside(each):
    """What only tinkex itself calls of a client or a future has a private name."""
    known = {name for kind in each.__mro__ if not kind.__module__.startswith("tinkex") for name in dir(kind)}
    own = [name for name in dir(each) if name not in known and not name.startswith("_")]
    assert [name for name in own if not (inspect.getdoc(getattr(each, name)) or name in each.__doc__)] == []
    assert not {"report_to", "fail_after_fork", "drop_references", "on_cancel"} & set(own)
