"""Pictures in a prompt."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Literal, get_args

from attrs import field, frozen

from tinkex.types._checks import blob, shown, sized, whole

ImageFormat = Literal["png", "jpeg"]

_MAGIC: dict[bytes, ImageFormat] = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}


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
            ValueError: The bytes are neither PNG nor JPEG, or not of the given *format*.
        """
        data = _image_data(data)
        found = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
        if found is None:
            raise ValueError("data must be a PNG or JPEG file, and starts as neither")
        if format is not None and _check_format(format) != found:
            raise ValueError(f"format is {format!r}, but data is a {found} file")
        return cls(data, found, expected_tokens)

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], expected_tokens: int | None = None) -> ImageChunk:
        """Read a picture file.

        Raises:
            ValueError: The file cannot be read, or is neither PNG nor JPEG.
        """
        from pathlib import Path  # slow to import, for the few who send pictures

        try:
            data = Path(path).read_bytes()
            return cls.from_bytes(data, expected_tokens=expected_tokens)
        except (OSError, ValueError) as error:
            raise ValueError(f"path {shown(str(path))} is not a usable picture: {error}") from error


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
