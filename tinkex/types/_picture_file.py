"""Looks into picture files, far enough to tell what a server would refuse."""

from __future__ import annotations

from typing import Literal

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
