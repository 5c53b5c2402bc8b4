from __future__ import annotations

import pickle
import sys
import types
from typing import ClassVar

import numpy as np
import pytest

from tinkex.types import EncodedTextChunk, ImageChunk, ModelInput

PICTURE = ImageChunk(b"\x89PNG\r\n\x1a\n", "png")


class Letters:
    def encode(self, text):
        return [ord(letter) for letter in text]


class Encoding:
    ids: ClassVar = [1, 2]


class Rich:
    def encode(self, text):
        return Encoding()


def test_from_ints_copies():
    """A list changed after from_ints does not change the prompt."""
    tokens = [1, 2]
    prompt = ModelInput.from_ints(tokens)
    tokens.append(3)
    assert prompt.to_ints() == [1, 2]


def test_from_ints_takes_numpy():
    """A NumPy array of ids makes the same prompt as a list."""
    assert ModelInput.from_ints(np.arange(3)) == ModelInput.from_ints([0, 1, 2])


def test_wrong_ids_name_the_prompt():
    """A bad id is reported as part of the prompt, with its place and value."""
    with pytest.raises(ValueError, match=r"prompt\[1\] must be at least 0, got -4"):
        ModelInput.from_ints([1, -4])


def test_append_int_extends_the_last_text():
    """One token more makes no new chunk after text, and one after a picture."""
    prompt = ModelInput.empty().append_int(1).append_int(2)
    assert prompt.chunks == (EncodedTextChunk([1, 2]),)
    assert ModelInput([PICTURE]).append_int(3).chunks == (PICTURE, EncodedTextChunk([3]))


def test_append_leaves_the_original():
    """A prompt never changes; append returns another."""
    prompt = ModelInput.from_ints([1])
    assert prompt.append(EncodedTextChunk([2])).to_ints() == [1, 2]
    assert prompt.to_ints() == [1]


@pytest.mark.parametrize("token", [True, -1, 1.5, "1"])
def test_append_int_checks_its_token(token):
    """What is no id cannot be appended."""
    with pytest.raises((TypeError, ValueError), match="token"):
        ModelInput.empty().append_int(token)


def test_lengths():
    """A prompt is as long as its chunks, unless a picture's length is unknown."""
    known = ModelInput([EncodedTextChunk([1, 2]), ImageChunk(PICTURE.data, "png", 5)])
    assert known.length == known.known_length == 7
    unknown = known.append(PICTURE)
    assert unknown.known_length is None
    with pytest.raises(ValueError, match="expected_tokens"):
        _ = unknown.length


def test_to_ints_of_pictures():
    """A prompt with a picture has no list of ids."""
    with pytest.raises(ValueError, match="to_ints"):
        ModelInput([PICTURE]).to_ints()


@pytest.mark.parametrize("chunks", [[1, 2], [EncodedTextChunk([1]), None], EncodedTextChunk([1]), 5])
def test_chunks_must_be_chunks(chunks):
    """A prompt is made of chunks only."""
    with pytest.raises(TypeError, match="chunks"):
        ModelInput(chunks)


def test_prompts_are_values():
    """Equal prompts hash and pickle alike."""
    prompt = ModelInput.from_ints([1, 2])
    assert hash(prompt) == hash(ModelInput.from_ints([1, 2]))
    assert pickle.loads(pickle.dumps(prompt)) == prompt


@pytest.mark.parametrize(("tokenizer", "tokens"), [(Letters(), [97, 98]), (Rich(), [1, 2])])
def test_from_text_with_a_tokenizer(tokenizer, tokens):
    """A tokenizer's encode may return ids, or an object that has them."""
    assert ModelInput.from_text("ab", tokenizer).to_ints() == tokens


def test_from_text_with_a_model(monkeypatch):
    """A model's name finds its tokenizer, which is only then looked for."""
    module = types.ModuleType("tinkex.tokenizers")
    module.get_tokenizer = {"some/model": Letters()}.get
    monkeypatch.setitem(sys.modules, "tinkex.tokenizers", module)
    assert ModelInput.from_text("ab", "some/model").to_ints() == [97, 98]


def test_from_text_needs_text():
    """Ids are not text."""
    with pytest.raises(TypeError, match="text"):
        ModelInput.from_text([1, 2], Letters())
