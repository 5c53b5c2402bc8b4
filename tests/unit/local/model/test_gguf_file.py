from __future__ import annotations

import pytest
from tiny_model import CONTEXT, MERGES, SIZE, TOKENS, tensors, write_model

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import read_gguf


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny model's file."""
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def test_metadata(tiny):
    """Facts are read in the types they were written in."""
    model = read_gguf(tiny)
    assert (model.architecture, model.context_length) == ("llama", CONTEXT)
    assert model.metadata["tokenizer.ggml.tokens"] == TOKENS
    assert model.number("rope.freq_base") == 100.0


def test_without_a_list(tiny):
    """A list that is not needed is passed over; all else is read as with it."""
    whole, found = read_gguf(tiny), read_gguf(tiny, without=("tokenizer.ggml.merges",))
    assert len(whole.metadata["tokenizer.ggml.merges"]) == len(MERGES)
    assert found.metadata == {**whole.metadata, "tokenizer.ggml.merges": []}
    assert found.tensors == whole.tensors


def test_tensor_places(tiny):
    """A tensor's place and shape are those of its numbers."""
    import numpy as np

    info = read_gguf(tiny).tensors["blk.1.ffn_down.weight"]
    count = info.shape[0] * info.shape[1]
    found = np.fromfile(tiny, np.float32, count, offset=info.start).reshape(info.shape)
    assert info.shape[0] == SIZE
    assert np.array_equal(found, tensors(7)["blk.1.ffn_down.weight"])


def test_missing_fact(tiny):
    """A fact that is needed and not there is an error that names it."""
    with pytest.raises(LocalError, match=r"llama\.nonsense"):
        read_gguf(tiny).number("nonsense")


@pytest.mark.parametrize(("window", "length"), [(None, CONTEXT), (0, CONTEXT), (32, 32), (4 * CONTEXT, CONTEXT)])
def test_sliding_window(tmp_path, window, length):
    """Attention in a sliding window is not computed, so a context is no longer than the window."""
    facts = {"llama.attention.sliding_window": window}
    assert read_gguf(write_model(tmp_path / "tiny.gguf", **facts)).context_length == length


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9])
def test_cut_short(tiny, tmp_path, share):
    """A file whose end is missing is refused, wherever it was cut."""
    whole = tiny.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(LocalError, match=r"cut\.gguf"):
        read_gguf(cut).tensors["blk.1.ffn_up.weight"]


@pytest.mark.parametrize("start", [b"PK\x03\x04" + bytes(100), b"GGUF" + b"\xff" * 100, b"GGUF" + bytes(100)])
def test_not_a_model(tmp_path, start):
    """A file of another kind or version is refused."""
    other = tmp_path / "other.gguf"
    other.write_bytes(start)
    with pytest.raises(LocalError, match="not a whole GGUF file"):
        read_gguf(other)


def test_no_file(tmp_path):
    """A file that is not there is named."""
    with pytest.raises(LocalError, match=r"none\.gguf"):
        read_gguf(tmp_path / "none.gguf")
