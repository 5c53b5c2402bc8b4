"""Text that people wrote, whatever system they wrote it on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._validation.text import decode_text

LINES = st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]))


@given(st.lists(LINES, min_size=1), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_systems_leave_no_trace(lines, end, mark):
    """Neither the mark at the beginning nor the kind of line end tells where a file was written."""
    data = ("\ufeff" * mark + "".join(line + end for line in lines)).encode()
    assert decode_text(data) == "".join(line + "\n" for line in lines)
    assert decode_text(data, cut=True) == "\n".join(lines)


def test_one_line_end_is_cut():
    """Only the last line end belongs to the editor; an empty last line is the writer's."""
    assert decode_text(b"a\r\n\r\n", cut=True) == "a\n"
    assert decode_text(b"a", cut=True) == "a"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"caf\xe9", "not UTF-8 text: .* at byte 3"),
        ("\ufefftext".encode("utf-16-le"), "UTF-16: save it as UTF-8"),
        ("\ufefftext".encode("utf-16-be"), "UTF-16: save it as UTF-8"),
    ],
)
def test_other_encodings(data, words):
    """Text in another encoding is refused with the place, or with its name where a mark tells it."""
    with pytest.raises(ValueError, match=words):
        decode_text(data)
