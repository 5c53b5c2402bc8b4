"""What `dir()` and completion show."""

from __future__ import annotations

import enum
import inspect
import pathlib
import sys

import attrs
import pytest
from public_classes import public_classes

import tinkex
from tinkex._validation.public_names import public_names

ROOT = pathlib.Path(tinkex.__file__).parent
PUBLIC = public_classes()  # imported here: libraries of others try sockets when they are


def has_private_names(kind):
    """Whether objects of a class have private names: of the class, or given by what makes them."""
    made = None if attrs.has(kind) else getattr(kind.__init__, "__code__", None)
    names = {*dir(kind), *(made.co_names if made else ())}
    return any(name.startswith("_") and not name.endswith("__") for name in names)


def test_public_classes_list_public_names():
    """An object of any public class that has private names does not list them."""
    kinds = [each for each in PUBLIC if not issubclass(each, enum.Enum) and not getattr(each, "_is_protocol", False)]
    kinds = [each for each in kinds if has_private_names(each)]
    assert [PUBLIC[each] for each in kinds if each.__dir__ is not public_names] == []
    assert len(kinds) > 30


@pytest.mark.parametrize(
    "thing",
    [
        tinkex.ServiceClient(api_key="tml-x", base_url="http://127.0.0.1:1"),
        tinkex.SampleFuture(None),
        tinkex.SampleResponse([tinkex.SampledSequence([1])]),
        tinkex.SampledSequence([1]),
        tinkex.ClientConfig(),
        tinkex.TensorData.from_list([1], dtype="int64"),
        tinkex.APIError("refused"),
        tinkex,
    ],
)
def test_names(thing):
    """What is listed is public, or Python's own, and can be had."""
    names = dir(thing)
    assert [name for name in names if name.startswith("_") and not name.endswith("__")] == []
    assert {"__class__", "__doc__"} & set(names) or thing is tinkex
    assert all(inspect.getattr_static(thing, name, thing) is not thing for name in names if thing is not tinkex)
    assert "result" in names or not isinstance(thing, tinkex.SampleFuture)


def test_packages_list_their_names():
    """A public package lists the names that it has for users, not what it imports."""
    sources = {file.parent.name: file.read_text("utf-8") for file in ROOT.glob("[a-z]*/__init__.py")}
    listing = {name for name, source in sources.items() if "\n__all__ = " in source}
    assert {"types", "errors", "bulk", "cli"} <= listing
    assert {name for name in listing if "def __dir__()" not in sources[name]} == set()
    loaded = [module for module in map(sys.modules.get, (f"tinkex.{name}" for name in listing)) if module]
    assert {each.__name__: dir(each) for each in loaded} == {each.__name__: sorted(each.__all__) for each in loaded}
