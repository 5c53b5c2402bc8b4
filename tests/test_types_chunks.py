from __future__ import annotations

import copy
import pickle
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.types import DmelChunk, EncodedTextChunk, ImageAssetPointerChunk, ImageChunk

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
JPEG = b"\xff\xd8\xff\xe0" + b"rest"


def test_text_is_hashable_and_compares_by_value():
    """Two chunks of equal tokens are one dictionary key, whether encoded before or not."""
    one, other = EncodedTextChunk([1, 2]), EncodedTextChunk((1, 2))
    object.__setattr__(one, "_encoded", b"...")
    assert {one: "x"}[other] == "x"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda chunk: pickle.loads(pickle.dumps(chunk))])
def test_copies_of_text_leave_the_encoded_form_behind(copied):
    """A pickle holds the tokens only."""
    chunk = EncodedTextChunk([1, 2])
    object.__setattr__(chunk, "_encoded", b"...")
    assert copied(chunk) == chunk
    assert copied(chunk)._encoded is None


def test_long_text_has_a_short_repr():
    """A log line never carries a whole prompt."""
    assert len(repr(EncodedTextChunk(range(100_000)))) < 200
    assert repr(EncodedTextChunk([1, 2])) == "EncodedTextChunk(tokens=(1, 2))"


def test_chunks_are_frozen():
    """No field can be changed, and none added."""
    with pytest.raises(AttributeError):
        EncodedTextChunk([1]).tokens = (2,)


@pytest.mark.parametrize(("data", "format"), [(PNG, "png"), (JPEG, "jpeg")])
def test_picture_format_is_read_from_its_bytes(tmp_path, data, format):
    """A picture's first bytes say what it is, from memory or from a file."""
    path = tmp_path / "picture"
    path.write_bytes(data)
    assert ImageChunk.from_bytes(data) == ImageChunk.from_path(path) == ImageChunk(data, format)


def test_picture_of_another_format():
    """A stated format that the bytes belie is refused."""
    with pytest.raises(ValueError, match="format is 'png', but data is a jpeg"):
        ImageChunk.from_bytes(JPEG, "png")


@pytest.mark.parametrize("data", [b"GIF89a", b"\x89PN", b""])
def test_what_is_no_picture(tmp_path, data):
    """Bytes that start as neither PNG nor JPEG are refused; so is their file, with its name."""
    path = tmp_path / "picture.gif"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="data"):
        ImageChunk.from_bytes(data)
    with pytest.raises(ValueError, match=r"path .*data"):
        ImageChunk.from_path(path)


def test_missing_picture_file(tmp_path):
    """A file that is not there is a ValueError that names the path argument."""
    with pytest.raises(ValueError, match="path"):
        ImageChunk.from_path(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ImageChunk("text", "png"), "data"),
        (lambda: ImageChunk(PNG, "gif"), "format"),
        (lambda: ImageChunk(PNG, ["png"]), "format"),
        (lambda: ImageChunk(PNG, "png", 0), "expected_tokens"),
        (lambda: ImageChunk(PNG, "png", True), "expected_tokens"),
        (lambda: ImageAssetPointerChunk("", "png"), "location"),
        (lambda: ImageAssetPointerChunk(7, "png"), "location"),
        (lambda: ImageAssetPointerChunk("x", "webp"), "format"),
        (lambda: DmelChunk("text"), "dmel"),
        (lambda: DmelChunk(b""), "dmel"),
        (lambda: EncodedTextChunk([1, -1]), r"tokens\[1\]"),
    ],
)
def test_wrong_fields_are_named(make, name):
    """Each wrong value is refused with the name of its field."""
    with pytest.raises((TypeError, ValueError), match=name):
        make()


def test_picture_bytes_stay_out_of_the_repr():
    """A picture shows its size instead of its bytes."""
    assert repr(ImageChunk(PNG, "png")) == "ImageChunk(data=<12 bytes>, format='png', expected_tokens=None)"


@pytest.mark.parametrize("kind", [lambda n: ImageChunk(PNG, "png", n), lambda n: ImageAssetPointerChunk("x", "png", n)])
def test_picture_length(kind):
    """A picture is as long as expected_tokens says; without it the length is an error."""
    assert kind(5).length == 5
    with pytest.raises(ValueError, match="expected_tokens"):
        _ = kind(None).length


def varint(number: int) -> bytes:
    """Encodes a number as a TensorContainer's header has it."""
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@given(st.booleans(), st.integers(0, 7), st.lists(st.integers(0, 2**40), min_size=1, max_size=5), st.binary())
def test_audio_length_is_the_first_dimension(marked, dtype, shape, payload):
    """Marker, dtype, rank and dimensions are read from the container's header; the rest is not touched."""
    header = (b"\xfe" if marked else b"") + bytes([dtype]) + varint(len(shape)) + b"".join(map(varint, shape))
    assert DmelChunk(header + payload).length == shape[0]


@given(st.binary(max_size=40))
def test_any_bytes_make_audio_or_an_error(data):
    """A container's header is read or refused, whatever it holds."""
    with suppress(ValueError):
        assert DmelChunk(data).length >= 0
