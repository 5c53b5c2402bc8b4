"""The registry of a run's models: what is remembered of those that could not be opened."""

from __future__ import annotations

import attrs
import pytest

import tinkex
from tinkex.bulk import Models
from tinkex.errors import NotFoundError


class NoTokenizer:
    """A client whose tokenizer cannot be had; counts how often it is asked."""

    def __init__(self, error):
        self.error = error
        self.asked = 0

    def get_tokenizer(self):
        self.asked += 1
        raise self.error


class PositionalError(Exception):
    """An error that cannot be copied: its constructor takes other arguments than it keeps."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def frames(error):
    """How many frames the traceback of an error holds."""
    count, trace = 0, error.__traceback__
    while trace is not None:
        count, trace = count + 1, trace.tb_next
    return count


def raised(call):
    """The error that a call raises."""
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [(tinkex.TinkexError("none here"), tinkex.TinkexError), (PositionalError("one", "two"), RuntimeError)],
)
def test_a_missing_tokenizer_is_a_new_error_each_time(error, kind):
    """Each row that needs a tokenizer that could not be loaded gets an error of its own, and no traceback grows."""
    client = NoTokenizer(error)
    model = Models(("m",), lambda name: client).get("m")
    raisings = [raised(model.tokenizer) for _ in range(2)]
    met = frames(error)
    raisings += [raised(model.tokenizer) for _ in range(48)]
    assert client.asked == 1
    assert len({id(each) for each in raisings}) == 50
    assert {type(each) for each in raisings} == {kind}
    assert all(str(error) in str(each) for each in raisings)
    assert frames(raisings[-1]) == frames(raisings[1])
    assert frames(error) == met, "the error that was met is not raised again"


def test_what_is_known_to_be_missing_raises_nothing(monkeypatch):
    """Rows of token ids do without a tokenizer, and no error is made for them after the first look."""
    model = Models(("m",), lambda name: NoTokenizer(OSError("none"))).get("m")
    assert model.try_tokenizer() is None
    monkeypatch.setattr("tinkex.bulk._models.Failure.error", lambda self: pytest.fail("an error was made"))
    assert model.try_tokenizer() is None
    assert model.decode([1, 2], chat=True) is None


def test_a_model_that_fails_is_opened_once():
    """A model that cannot be opened is asked for once, and every row of it gets an error of its own."""
    asked = []

    def open_model(name):
        asked.append(name)
        raise NotFoundError(f"no {name}", status=404)

    models = Models(("m",), open_model)
    errors = [raised(lambda: models.get("m")) for _ in range(20)]
    assert asked == ["m"]
    assert {(type(error), error.message, error.status) for error in errors} == {(NotFoundError, "no m", 404)}
    assert len({id(error) for error in errors}) == 20
    assert len({frames(error) for error in errors[1:]}) == 1


def test_no_more_than_a_thousand_failures_are_remembered():
    """Rows that each name another model that is not there do not fill the memory."""

    def open_model(name):
        raise ValueError(name)

    models = Models(("m",), open_model)
    for number in range(1500):
        raised(lambda name=str(number): models.get(name))
    assert len(attrs.asdict(models, recurse=False)["_failed"]) == 1000


class Picky:
    """A tokenizer that wants at least one token, and has no special ones to skip."""

    def __init__(self, error):
        self.error = error

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids, *, skip_special_tokens=False):
        if not ids:
            raise self.error
        return ("-" if skip_special_tokens else "+") + "".join(map(chr, ids))


@pytest.mark.parametrize(("error", "text"), [(TypeError("what is this?"), "+ab"), (IndexError("no token"), "-ab")])
def test_decode_finds_out_once_what_the_tokenizer_takes(error, text):
    """Special tokens are skipped where the tokenizer has that keyword, whatever it does with no token at all."""
    model = Models(("m",), lambda name: None, Picky(error)).get("m")
    assert [model.decode([97, 98], chat=False) for _ in range(2)] == [text, text]
    assert model.decode([-1], chat=True) is None
