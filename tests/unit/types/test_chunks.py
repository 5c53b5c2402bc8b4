from __future__ import annotations

import copy
import io
import pickle
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tinkex.errors import MissingExtraError
from tinkex.types import DmelChunk, EncodedTextChunk, ImageAssetPointerChunk, ImageChunk


def picture_file(format, size=(3, 2), mode="RGB", **options):
    """A picture as a file of that format."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, format, **options)
    return file.getvalue()


PNG, JPEG = picture_file("png"), picture_file("jpeg")


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


@pytest.mark.parametrize(
    ("format", "named"), [("gif", "a GIF"), ("webp", "a WebP"), ("bmp", "a BMP"), ("tiff", "a TIFF")]
)
def test_pictures_of_other_formats_are_named(format, named):
    """A picture that servers do not take is called what it is, with the way out."""
    with pytest.raises(ValueError, match=rf"is {named} file; ImageChunk\.from_pil"):
        ImageChunk.from_bytes(picture_file(format))


@pytest.mark.parametrize(
    "data",
    [PNG, JPEG, picture_file("jpeg", progressive=True), picture_file("jpeg", mode="L"), picture_file("png", mode="P")],
)
def test_whole_pictures_only(data):
    """A picture that is cut short anywhere is refused here, not by the server; what follows its end does not matter."""
    assert ImageChunk.from_bytes(data + b"\0\0more").data.startswith(data)
    for end in range(1, len(data) - 4):
        with pytest.raises(ValueError, match="data"):
            ImageChunk.from_bytes(data[:end])


@pytest.mark.parametrize("at", [slice(16, 20), slice(20, 24)])
def test_picture_without_pixels(at):
    """A picture of no width or height is refused."""
    empty = bytearray(PNG)
    empty[at] = bytes(4)
    with pytest.raises(ValueError, match=r"data is a png file of \d x \d pixels"):
        ImageChunk.from_bytes(empty)


@given(st.binary(max_size=200), st.sampled_from([PNG[:8], JPEG[:3], PNG[:40], JPEG[:60], b""]))
def test_any_bytes(rest, start):
    """Bytes make a chunk or a ValueError, nothing else."""
    with suppress(ValueError):
        ImageChunk.from_bytes(start + rest)


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_pillow_images(format):
    """A Pillow image becomes a file of the format asked for."""
    chunk = ImageChunk.from_pil(Image.new("RGB", (3, 2), "red"), format, expected_tokens=5)
    assert (chunk, chunk.length) == (ImageChunk.from_bytes(chunk.data, format, 5), 5)
    assert Image.open(io.BytesIO(chunk.data)).size == (3, 2)


def test_pillow_images_stand_upright():
    """A photograph held sideways is turned, since the note that says so is not sent."""
    image = Image.new("RGB", (3, 2))
    image.getexif()[0x0112] = 6
    assert Image.open(io.BytesIO(ImageChunk.from_pil(image).data)).size == (2, 3)


@pytest.mark.parametrize(
    ("mode", "format"),
    [("RGBA", "jpeg"), ("P", "jpeg"), ("CMYK", "png"), ("CMYK", "jpeg"), ("I;16", "png"), ("F", "png")],
)
def test_pillow_images_of_other_modes(mode, format):
    """Colours that a format is not for are refused with what to do."""
    with pytest.raises(ValueError, match=rf"mode {mode}, which is not sent as {format}: pass image\.convert"):
        ImageChunk.from_pil(Image.new(mode, (3, 2)), format)


def test_damaged_pillow_image():
    """An image that was opened and turns out damaged is a ValueError."""
    with pytest.raises(ValueError, match="image cannot be read"):
        ImageChunk.from_pil(Image.open(io.BytesIO(picture_file("png", (300, 200))[:100])))


@pytest.mark.parametrize(
    ("image", "format", "complaint"),
    [
        (PNG, "png", "image must be a Pillow image"),
        (Image.new("RGB", (0, 2)), "png", "image has 0 x 2 pixels"),
        (Image.new("RGB", (3, 2)), "gif", "format must be"),
    ],
)
def test_bad_pillow_images(image, format, complaint):
    """What is no image, has no pixels or is to be of another format is refused by name."""
    with pytest.raises((TypeError, ValueError), match=complaint):
        ImageChunk.from_pil(image, format)


def test_pillow_is_missing(monkeypatch):
    """Without Pillow, the error says what to install."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinkex\[images\]'"):
        ImageChunk.from_pil(object())


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
    assert repr(ImageChunk(PNG, "png")) == f"ImageChunk(data=<{len(PNG)} bytes>, format='png', expected_tokens=None)"


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
