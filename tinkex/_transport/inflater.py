"""Decompression of bodies, within bounds."""

from __future__ import annotations

import zlib

from tinkex._transport.response_head import HTTPFormatError


class Inflater:
    """Bounded decompression of gzip or deflate."""

    def __init__(self, encoding: str, limit: int) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise HTTPFormatError(f"an unknown Content-Encoding: {encoding[:80]!r}")
        self._deflate = encoding == "deflate"
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16 if not self._deflate else zlib.MAX_WBITS)
        self._left = self._sent_left = limit
        self._fresh = True

    def feed(self, data: bytes) -> bytes:
        """Decompress a piece; raises HTTPFormatError for what is not to be read."""
        if self._fresh and self._deflate and (data[0] & 0x0F) != 8:  # some send raw deflate under that name
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._fresh = False
        try:
            piece = self._stream.decompress(data, self._left + 1)
        except zlib.error as error:
            raise HTTPFormatError(f"a body that does not decompress: {error}") from None
        self._left -= len(piece)
        self._sent_left -= len(data)
        if self._left < 0 or self._sent_left < 0:
            raise HTTPFormatError("a body that is, or decompresses to, more than max_response_bytes")
        if self._stream.unused_data:
            raise HTTPFormatError("a body that goes on after the end of its compressed content")
        return piece

    def finish(self) -> None:
        """Take the end of the body; raises HTTPFormatError where it comes early."""
        if not self._stream.eof and not self._fresh:
            raise HTTPFormatError("a compressed body that ends early")
