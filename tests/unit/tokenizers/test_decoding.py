"""Decoding for readers: special tokens left out, and characters that several tokens make up kept whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.tokenizers import text_decoder, token_runs


def from_bytes(ids):
    """Decode ids that are bytes of UTF-8, as byte-level tokenizers do."""
    return bytes(ids).decode(errors="replace")


def stripped(ids):
    """Decode ids that are letters, or words after a space, as SentencePiece does: without the first space."""
    return "".join({1: " a", 2: " b", 3: "c"}[token] for token in ids).removeprefix(" ")


@given(st.text(max_size=20))
def test_runs_are_whole_characters(text):
    """The runs follow one another, each is one character, and together they are the text."""
    ids = list(text.encode(errors="replace"))
    runs = list(token_runs(ids, from_bytes))
    assert [start for start, _, _ in runs] == [0, *(end for _, end, _ in runs)][: len(runs)]
    assert [spelled for _, _, spelled in runs] == list(from_bytes(ids))


@given(st.binary(max_size=60))
def test_no_run_is_endless(data):
    """Bytes that are no text are given up after eight tokens, and every token is in a run."""
    runs = list(token_runs(list(data), from_bytes))
    assert sum(end - start for start, end, _ in runs) == len(data)
    assert all(end - start <= 8 for start, end, _ in runs)


def test_spaces_between_words():
    """A token keeps the space that a tokenizer leaves out at the beginning of a text only."""
    assert [text for _, _, text in token_runs([1, 2, 3, 1], stripped)] == ["a", " b", "c", " a"]


def test_decoding_that_depends_on_what_follows():
    """Where a text changes with what comes after it, a token is decoded alone."""
    assert [text for _, _, text in token_runs([1, 2], lambda ids: "end" if len(ids) == 1 else "other")] == [
        "end",
        "end",
    ]


class Marked:
    """A tokenizer that can leave out token 0, its special one."""

    def decode(self, ids, *, skip_special_tokens=False):
        """Letters, and a mark for the special token."""
        return "".join("" if not token and skip_special_tokens else chr(token or 36) for token in ids)


class Plain:
    """A tokenizer without that keyword."""

    def decode(self, ids):
        """Letters, and a mark."""
        return "".join(chr(token or 36) for token in ids)


class Picky(Marked):
    """A tokenizer that wants at least one token."""

    def decode(self, ids, **options):
        """Like its base, once there is one."""
        if not ids:
            raise ValueError("no tokens")
        return super().decode(ids, **options)


@pytest.mark.parametrize(("tokenizer", "text"), [(Marked(), "ab"), (Plain(), "ab$"), (Picky(), "ab")])
def test_special_tokens(tokenizer, text):
    """Special tokens are left out where the tokenizer can do it."""
    assert text_decoder(tokenizer)([97, 98, 0]) == text
