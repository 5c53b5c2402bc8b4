"""Scores of continuations: the boundary of their tokens, and what is made of their log-probabilities."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letters import Greedy

from tinkex.errors import MissingFeatureError
from tinkex.text import ScoredText, ScoreResponse, TextCodec
from tinkex.text.scores import last_logprobs, likeliest, read_choices, scored_response, split_choices
from tinkex.types import ImageChunk, ModelInput, SampledSequence, SampleResponse

CODEC = TextCodec(Greedy(" Paris", "Paris", " is", "is", " (A", " ("))
PIXEL = ImageChunk(b"\x89PNG", "png", expected_tokens=3)


def split(prompt, *choices, codec=CODEC):
    """The choices of a prompt, cut into tokens and spelled."""
    found = split_choices(prompt, read_choices(choices), lambda: codec)
    decode = codec.tokenizer.decode
    return decode(found.prompt.to_ints()), [[decode([token]) for token in each] for each in found.tokens], found.tail


def test_a_space_belongs_to_the_choice():
    """A choice that begins with a space is the token that the model has read, and the prompt stays whole."""
    assert split("It is", " Paris", " x") == ("It is", [[" Paris"], [" ", "x"]], "")


def test_a_space_at_the_end_of_the_prompt():
    """A space that one of the choices takes into its first token stands in front of every choice."""
    assert split("It is ", "Paris") == ("It is", [[" Paris"]], " ")
    assert split("It is ", "Paris", "x") == ("It is", [[" Paris"], [" ", "x"]], " ")


def test_a_space_that_no_choice_takes():
    """A space that is a token of the prompt in any case is no part of a choice."""
    assert split("It is ", "x", "y") == ("It is ", [["x"], ["y"]], "")


def test_tokens_across_the_end_of_the_prompt():
    """Of a token that is part prompt and part choice, the whole is scored: nothing else tells the choices apart."""
    assert split("It is (", "A)", "B)") == ("It is", [[" (A", ")"], [" (", "B", ")"]], " (")


def test_tokens_as_choices():
    """Token ids are taken as they are, behind text and behind tokens."""
    assert split("It is", [ord("x")], " Paris") == ("It is", [["x"], [" Paris"]], "")
    found = split_choices(ModelInput.from_ints([5, 6]), read_choices([[7], (8, 9)]), None)
    assert [each.to_ints() for each in found.prompts()] == [[5, 6, 7], [5, 6, 8, 9]]
    assert found.texts == (None, None)


def test_behind_tokens_a_text_is_encoded_by_itself():
    """A prompt that is tokens keeps them, and no special token comes between."""
    found = split_choices(ModelInput.from_ints([5]), ("Paris",), lambda: TextCodec(Greedy("Paris", bos=True)))
    assert [each.to_ints() for each in found.prompts()] == [[5, 1000]]


def test_behind_a_picture():
    """A prompt with a picture gets the tokens of a choice as a chunk behind it."""
    (made,) = split_choices(ModelInput([PIXEL]), ((5, 6),), None).prompts()
    assert made.chunks[0] == PIXEL
    assert made.chunks[1].tokens == (5, 6)


def test_an_empty_prompt():
    """A BOS token is enough to stand before a choice; without any there is nothing to go by."""
    assert split("", "x", codec=TextCodec(Greedy(bos=True))) == ("\x01", [["x"]], "")
    with pytest.raises(ValueError, match="no token that stands before"):
        split("", "x")


@given(st.text("Pari s(Ax", max_size=12), st.lists(st.text("Pari s(Ax", min_size=1, max_size=6), min_size=1))
def test_any_text_is_scored_once(prompt, choices):
    """Prompt and choice together are the tokens of the whole text, cut where all choices agree with the prompt."""
    prompt = "It" + prompt
    before, tokens, tail = split(prompt, *choices)
    assert before + tail == prompt
    assert ["".join(each) for each in tokens] == [tail + choice for choice in choices]
    assert [CODEC.encode(before + "".join(each)) for each in tokens] == [
        CODEC.encode(prompt + choice) for choice in choices
    ]


@pytest.mark.parametrize("wrong", [[], 5, None, "", [""], [[]], ["a", ""], b"a", {"a"}, {"a": 1}])
def test_no_choices(wrong):
    """No choice at all, and an empty one, are refused by name."""
    with pytest.raises((TypeError, ValueError), match="choices"):
        read_choices(wrong)


@pytest.mark.parametrize("wrong", [["a", 5], [[1.5]], [[-1]], [5, "a"]])
def test_wrong_choices(wrong):
    """What is neither text nor token ids is refused by its place."""
    with pytest.raises((TypeError, ValueError), match=r"choices\[\d\]"):
        read_choices(wrong)


def test_a_choice_without_tokens():
    """A choice that the tokenizer makes nothing of is refused."""

    class Silent(Greedy):
        def encode(self, text, add_special_tokens=True):
            return [5] if add_special_tokens else []

    with pytest.raises(ValueError, match=r"choices\[0\] has no tokens"):
        split("a", "b", codec=TextCodec(Silent()))


def scores(*sums, text="ab"):
    """A response in which each choice has one token."""
    return ScoreResponse(tuple(ScoredText(text, (5,), (each,)) for each in sums), ModelInput.from_ints([1]))


def test_sum_mean_and_bytes():
    """The three differ where choices have different lengths, and the first of equals is the best."""
    short, long = ScoredText("é", (5,), (-3.0,)), ScoredText("abcdefgh", (5, 6, 7, 8), (-1.0,) * 4)
    response = ScoreResponse((short, long), ModelInput.from_ints([1]))
    assert (response.best, response.best_by_mean, response.best_by_byte) == (0, 1, 1)
    assert short.logprob_per_byte == -1.5
    assert scores(-1.0, -1.0).best == 0
    assert [len(response), response[1], list(response), response[:1]] == [2, long, [short, long], (short,)]
    assert pickle.loads(pickle.dumps(response)) == response


def test_the_tail_counts():
    """Of text that is scored with a choice, the bytes count with it."""
    assert ScoredText("b", (5,), (-3.0,), tail="é").logprob_per_byte == -1.0


def test_shares():
    """The shares of the choices add up to one, also far from zero; an impossible choice has none."""
    assert scores(-1000.0, -1000.0 + math.log(3)).probabilities == pytest.approx([0.25, 0.75])
    assert scores(0.0, -math.inf).probabilities == [1.0, 0.0]


@pytest.mark.parametrize("sums", [(math.nan, -1.0), (-math.inf, -math.inf)])
def test_nothing_is_best(sums):
    """Where a log-probability is not known, or no choice is possible, none is the best and none has a share."""
    assert scores(*sums).best is scores(*sums).best_by_mean is likeliest(sums) is None
    assert all(map(math.isnan, scores(*sums).probabilities))


def test_token_ids_have_no_bytes():
    """A choice of token ids has no length in bytes, so none is the best by it."""
    assert scores(-1.0, -2.0, text=None).best_by_byte is None


def test_the_only_choice():
    """The numbers of a single choice can be asked of the response; those of several must be asked of one."""
    one = scores(-2.0)
    assert (one.logprob, one.mean_logprob, one.logprobs) == (-2.0, -2.0, (-2.0,))
    assert (one.best, one.best_by_mean, one.best_by_byte) == (None, None, None)  # of what?
    with pytest.raises(ValueError, match="there are 2 choices"):
        _ = scores(-1.0, -2.0).logprob


def scored(logprobs):
    """A response with the log-probabilities of a prompt."""
    return SampleResponse([SampledSequence([1])], prompt_logprobs=logprobs)


def test_last_logprobs():
    """What the server did not tell is NaN, wherever it is missing."""
    assert last_logprobs(scored([None, -1.0, -2.0]), 2) == [-1.0, -2.0]
    assert str(last_logprobs(scored([None, -1.0]), 3)) == "[nan, nan, -1.0]"
    assert str(last_logprobs(scored(None), 1)) == "[nan]"


def test_a_server_that_scores_everything():
    """Where a server scores all tokens though only the last are asked for, its answer serves; other errors stay."""
    error = MissingFeatureError("prompt_logprobs_last_n was asked for, but the server's answer comes without it")
    error.response = scored([-1.0, -2.0])
    assert scored_response(error) is error.response
    other = MissingFeatureError("prompt_logprobs was asked for")
    other.response = scored(None)
    assert scored_response(other) is scored_response(ValueError()) is scored_response(None) is None
