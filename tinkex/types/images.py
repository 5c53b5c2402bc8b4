"""Pictures in a prompt."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from attrs import field, frozen

from tinkex.types._checks import blob, shown, sized, whole
from tinkex.types._picture_file import ImageFormat, picture_format

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


@frozen
class ImageChunk:
    """A PNG or JPEG picture, as the bytes of its file.

    *expected_tokens* is the number of tokens the picture takes; None leaves it to the server,
    and then the prompt's length is unknown. A server refuses a picture that takes another number.
    """

    type: ClassVar[str] = "image"
    data: bytes = field(converter=_image_data, repr=sized)
    format: ImageFormat = field(converter=_check_format)
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
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("ImageChunk.from_pil needs an extra. Run: pip install 'tinkex[images]'") from error
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


@frozen
class ImageAssetPointerChunk:
    """A picture the server fetches itself, from a path or URL.

    *expected_tokens* is as in `ImageChunk`.
    """

    type: ClassVar[str] = "image_asset_pointer"
    location: str = field(converter=_location)
    format: ImageFormat = field(converter=_check_format)
    expected_tokens: int | None = field(default=None, converter=_expected_tokens)

    @property
    def length(self) -> int:
        """Number of tokens.

        Raises:
            ValueError: `expected_tokens` is not set, and only the server knows.
        """
        return _picture_length(self.expected_tokens)
