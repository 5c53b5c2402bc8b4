"""Text files that people write, read one way: prompts, messages, templates, price tables, batch input."""

from __future__ import annotations

import codecs

_OTHER_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def decode_text(data: bytes, *, cut: bool = False) -> str:
    r"""Decode a UTF-8 file of any system: a byte order mark is dropped, and every line ends with a line feed.

    With *cut*, one line end at the end is dropped as well: it is the editor's, and no part of a prompt.

    Raises:
        ValueError: It is not UTF-8; the text says where.

    >>> decode_text(codecs.BOM_UTF8 + b"one\r\ntwo\r\n", cut=True)
    'one\ntwo'
    """
    other = _OTHER_MARKS.get(data[:2])
    if other is not None:
        raise ValueError(f"not UTF-8 text but {other}: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: {error.reason} at byte {error.start}") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n") if cut else text
