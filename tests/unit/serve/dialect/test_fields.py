from __future__ import annotations

import pytest

from tinkex.serve.dialect.fields import BodyFields
from tinkex.serve.errors import GatewayError


def param(call):
    """The field that a refusal names."""
    with pytest.raises(GatewayError) as caught:
        call()
    assert caught.value.status == 400
    return caught.value.param


def test_null_is_absent():
    """A field that is null counts as not given, whatever its name."""
    fields = BodyFields({"n": None, "other": None})
    assert fields.count("n") is None
    fields.close()


def test_unread_fields_are_refused():
    """What no reader has taken is refused by its name, unless it has no effect or the neutral value."""
    BodyFields({"user": "me", "min_p": 0.0, "logit_bias": {}, "skip_special_tokens": True}).close()
    for name, value in {"min_p": 0.1, "skip_special_tokens": False, "ignore_eos": True, "colour": 1}.items():
        assert param(BodyFields({name: value}).close) == name
    assert param(BodyFields({"presence_penalty": False}).close) == "presence_penalty"  # false is no zero
    assert param(BodyFields({"ignore_eos": 0}).close) == "ignore_eos"


@pytest.mark.parametrize("value", [True, "1", 1.5, [1], -1, 2**31, 1e30])
def test_counts(value):
    """A count is a whole number that is not negative; one written with a point is one."""
    assert param(lambda: BodyFields({"n": value}).count("n")) == "n"
    assert BodyFields({"n": 2.0}).count("n") == 2


def test_types():
    """Each reader names the field whose type is wrong."""
    body = {"a": 1, "b": "x"}
    assert param(lambda: BodyFields(body).text("a")) == "a"
    assert param(lambda: BodyFields(body).flag("a")) == "a"
    assert param(lambda: BodyFields(body).mapping("b")) == "b"
    for wrong in ("x", {"a": 1}, ["x"], [True]):
        assert param(lambda wrong=wrong: BodyFields({"b": wrong}).objects("b")) == "b"
        assert param(lambda wrong=wrong: BodyFields({"b": wrong}).token_ids("b")) == "b"
    assert param(lambda: BodyFields({"b": [False]}).token_ids("b")) == "b"
    assert param(lambda: BodyFields({"b": [-1]}).token_ids("b")) == "b"
    assert param(lambda: BodyFields({"b": [2**31]}).token_ids("b")) == "b"
    assert BodyFields({"b": [0, 2**31 - 1]}).token_ids("b") == [0, 2**31 - 1]
    assert BodyFields({"b": []}).objects("b") == []


def test_stops():
    """A stop is a text or several; none, and an empty list, are no stops of one's own."""
    for given, stops in ((None, ()), ([], ()), ("a", ("a",)), (["a", "b"], ("a", "b"))):
        assert BodyFields({"stop": given}).stops() == stops
    for wrong in (0, False, {}, 1, [1], {"a": 1}, ["a"] * 1025):
        assert param(lambda wrong=wrong: BodyFields({"stop": wrong}).stops()) == "stop"
