from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import byte_level

from tinkex.chat.openai_format import completion_logprobs
from tinkex.serve.dialect.logprobs import ScoredTokens, text_offsets
from tinkex.tokenizers import TokenPieces, get_tokenizer

INNER = byte_level()
TOKENIZER = get_tokenizer(INNER)
PIECES = TokenPieces(TOKENIZER)


def test_first_position():
    """The first position of a prompt has no number, no alternatives, and no object."""
    scored = ScoredTokens([5, 6], [None, -1.0], [None, [(6, -1.0), (7, -2.0)]])
    form = completion_logprobs(scored.spelled(PIECES, 2))
    assert (form["token_logprobs"][0], form["top_logprobs"][0]) == (None, None)
    assert scored.by_position(PIECES, 2)[0] is None


@given(own=st.floats(-9, 0), row=st.lists(st.floats(-9, 0), min_size=1, max_size=4), at=st.integers(0, 4))
def test_one_number_a_token(own, row, at):
    """A token that is among the likeliest has the same float in both places; greedy by equality holds for the first."""
    cells = [(40 + place, number) for place, number in enumerate(sorted(row, reverse=True))]
    token = 40 + at
    (spelled,) = ScoredTokens([token], [own], [cells]).spelled(PIECES, 4)
    numbers = {each.id: each.logprob for each in spelled.alternatives}
    assert numbers.get(token, own) == spelled.logprob == own
    (entry,) = ScoredTokens([token], [own], [cells]).by_position(PIECES, 4)
    assert next(iter(entry)) == str(token)
    assert entry[str(token)]["rank"] == (at + 1 if at < len(cells) else None)


def test_fewer_are_shown_than_were_asked_for():
    """A row is cut to the number that its place wants: of prompt and samples, the larger was asked for."""
    scored = ScoredTokens([5], [-1.0], [[(5, -1.0), (6, -2.0), (7, -3.0)]])
    assert [each.id for each in scored.spelled(PIECES, 2)[0].alternatives] == [5, 6]
    assert list(scored.by_position(PIECES, 1)[0]) == ["5"]
    assert scored.spelled(PIECES, 0)[0].alternatives is None


def test_without_a_tokenizer():
    """Without a tokenizer tokens go by their ids, as they do where that is asked for."""
    scored = ScoredTokens([5], [-1.0], [[(5, -1.0)]])
    assert scored.spelled(None, 1)[0].text == scored.spelled(PIECES, 1, by_id=True)[0].text == "token_id:5"


@pytest.mark.parametrize("text", ["abc", "aé🦊b", "🦊🦊"])
def test_offsets(text):
    """Tokens begin where their text does; those that make up a character together begin where it does."""
    ids = TOKENIZER.encode(text)
    offsets = text_offsets(ids, TOKENIZER.decode, 7)
    expected = [7 + at for at, letter in enumerate(text) for _ in letter.encode()]
    assert offsets == expected
