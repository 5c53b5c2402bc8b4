"""Image chunks of a prompt, and the formats of image files."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from attrs import field, frozen

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.fieldwise import Fieldwise
from tinkex._validation.values import blob, shown, sized, whole
from tinkex.errors import extra

if TYPE_CHECKING:
    import PIL.Image

_MODES = {"jpeg": ("1", "L", "RGB"), "png": ("1", "L", "RGB", "LA", "RGBA", "P")}
_JPEG_QUALITY = 95


def _check_format(value: Any) -> ImageFormat:
    if value not in get_args(ImageFormat):
        raise ValueError(f"format must be 'png' or 'jpeg', got {shown(value)}")
    return value  # type: ignore[no-any-return]


def _expected_tokens(value: int | None) -> int | None:
    return None if value is None else whole("expected_tokens", value, 1)


def _picture_length(expected_tokens: int | None) -> int:
    if expected_tokens is None:
        raise ValueError("expected_tokens is not set, so the length of the picture is not known")
    return expected_tokens


def _image_data(value: bytes | bytearray | memoryview) -> bytes:
    return blob("data", value)


@with_field_docs
@frozen(eq=False, repr=False)
class ImageChunk(Fieldwise):
    """A PNG or JPEG picture, as the bytes of its file.

    *expected_tokens* is the number of tokens the picture takes; None leaves it to the server,
    and then the prompt's length is unknown. A server refuses a picture that takes another number.
    """

    type: ClassVar[str] = "image"
    data: bytes = field(converter=_image_data, repr=sized)
    """The bytes of the file."""
    format: ImageFormat = field(converter=_check_format)
    """"png" or "jpeg"."""
    expected_tokens: int | None = field(default=None, converter=_expected_tokens)

    @property
    def length(self) -> int:
        """Number of tokens.

        Raises:
            ValueError: `expected_tokens` is not set, and only the server knows.
        """
        return _picture_length(self.expected_tokens)

    @classmethod
    def from_bytes(
        cls, data: bytes, format: ImageFormat | None = None, expected_tokens: int | None = None
    ) -> ImageChunk:
        """Make a chunk from a picture file's bytes; the format is read from them.

        Raises:
            ValueError: The bytes are neither PNG nor JPEG, cut short, or not of the given *format*.
        """
        data = _image_data(data)
        found = picture_format(data)
        if format is not None and _check_format(format) != found:
            raise ValueError(f"format is {format!r}, but data is a {found} file")
        return cls(data, found, expected_tokens)

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], expected_tokens: int | None = None) -> ImageChunk:
        """Read a picture file.

        Raises:
            ValueError: The file cannot be read, is neither PNG nor JPEG, or is cut short.
        """
        from pathlib import Path  # slow to import, for the few who send pictures

        try:
            data = Path(path).read_bytes()
            return cls.from_bytes(data, expected_tokens=expected_tokens)
        except (OSError, ValueError) as error:
            raise ValueError(f"path {shown(str(path))} is not a usable picture: {error}") from error

    @classmethod
    def from_pil(
        cls, image: PIL.Image.Image, format: ImageFormat = "png", expected_tokens: int | None = None
    ) -> ImageChunk:
        """Make a chunk from a Pillow image, turned upright where it says how it was held; needs the `images` extra.

        Raises:
            TypeError: *image* is no Pillow image.
            ValueError: It has no pixels, or is of a mode that *format* is not for, such as CMYK, or RGBA as JPEG.
        """
        return cls(_encoded(image, _check_format(format)), format, expected_tokens)


def _encoded(image: PIL.Image.Image, format: ImageFormat) -> bytes:
    with extra("images", "ImageChunk.from_pil"):
        from PIL import Image, ImageOps
    if not isinstance(image, Image.Image):
        raise TypeError(f"image must be a Pillow image, got {shown(image)}")
    if not all(image.size):
        raise ValueError(f"image has {image.width} x {image.height} pixels")
    if image.mode not in _MODES[format]:
        raise ValueError(f"image is of mode {image.mode}, which is not sent as {format}: pass image.convert('RGB')")
    file = io.BytesIO()
    try:
        ImageOps.exif_transpose(image).save(file, format, quality=_JPEG_QUALITY)
    except (OSError, ValueError, SyntaxError) as error:  # a lazily opened file that is damaged, for example
        raise ValueError(f"image cannot be read: {error}") from error
    return file.getvalue()


def _location(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"location must be a string, got {shown(value)}")
    if not value:
        raise ValueError("location must not be empty")
    return value


@with_field_docs
@frozen(eq=False, repr=False)
class ImageAssetPointerChunk(Fieldwise):
    """A picture the server fetches itself, from a path or URL.

    *expected_tokens* is as in `ImageChunk`.
    """

    type: ClassVar[str] = "image_asset_pointer"
    location: str = field(converter=_location)
    """Its path or URL, as the server knows it."""
    format: ImageFormat = field(converter=_check_format)
    """"png" or "jpeg"."""
    expected_tokens: int | None = field(default=None, converter=_expected_tokens)

    @property
    def length(self) -> int:
        """Number of tokens.

        Raises:
            ValueError: `expected_tokens` is not set, and only the server knows.
        """
        return _picture_length(self.expected_tokens)


ImageFormat = Literal["png", "jpeg"]

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_OTHERS = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"<svg": "SVG", b"%PDF": "PDF"}
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that tell the size of a JPEG
_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"


def picture_format(data: bytes) -> ImageFormat:
    """Tell the format of a picture file.

    Raises:
        ValueError: It is neither PNG nor JPEG, is cut short, or has no pixels.
    """
    if data.startswith(_PNG):
        _check_size("png", _png_size(data))
        return "png"
    if data.startswith(_JPEG):
        _check_size("jpeg", _jpeg_size(data))
        return "jpeg"
    other = _other_format(data)
    found = f"is a {other} file" if other else "starts as neither"
    raise ValueError(f"data must be a PNG or JPEG file, and {found}; ImageChunk.from_pil converts what Pillow can open")


def _other_format(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"heic": "HEIC", b"mif1": "HEIF"}.get(data[8:12], "video")
    return next((name for magic, name in _OTHERS.items() if data.startswith(magic)), None)


def _check_size(format: ImageFormat, size: tuple[int, int] | None) -> None:
    if size is None:
        raise ValueError(f"data is a {format} file that is cut short or damaged")
    if not all(size):
        raise ValueError(f"data is a {format} file of {size[0]} x {size[1]} pixels")


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height; None unless a header comes first and the end is there."""
    at = len(_PNG)
    if data[at + 4 : at + 8] != b"IHDR":
        return None
    while (kind := data[at + 4 : at + 8]) != b"IEND":
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if len(kind) < 4 or at >= len(data):
            return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height; None unless a frame tells them, a scan follows and the end is there."""
    at, size = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fills a gap
            at += 1
            continue
        if marker in _FRAMES:
            size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker == _SCAN:
            return size if _JPEG_END in data[at:] else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
