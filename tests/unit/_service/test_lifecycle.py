from __future__ import annotations

from types import SimpleNamespace

from tinkex._service import lifecycle


def test_references_that_outlive_their_module(monkeypatch):
    """At the end of the interpreter a reference may go when the names of its module are gone: that is no error."""
    reference = lifecycle.ServiceReference.__new__(lifecycle.ServiceReference)
    released = []
    reference.lifecycle = SimpleNamespace(release=lambda held: bool(released.append(held)))
    reference._held = object()
    with monkeypatch.context() as ending:
        ending.setattr(lifecycle, "sys", None)
        reference.__del__()
    assert released == [reference._held]
    reference._held = None
