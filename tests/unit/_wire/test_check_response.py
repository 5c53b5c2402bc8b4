from __future__ import annotations

import math
import pickle

import pytest
from attrs import evolve

from tinkex._wire import finish_response
from tinkex.errors import APIResponseError, MissingFeatureError
from tinkex.types import (
    EncodedTextChunk,
    ImageChunk,
    ModelInput,
    PromptAltTokens,
    SampledSequence,
    SampleRequest,
    SampleResponse,
    SamplingParams,
    TensorData,
    Timing,
    TopkLogprobs,
    Usage,
)

PICTURE = ImageChunk(b"\x89PNG\r\n\x1a\n", "png")
ROW = [(5, -0.5)]


def finished(response, prompt=(1, 2, 3), *, request_id="r", sequence_ids=None, timing=None, **options):
    """Finishes a response to a request with the given options."""
    request = SampleRequest(prompt, SamplingParams(max_tokens=4), **options)
    return finish_response(response, request, request_id=request_id, sequence_ids=sequence_ids, timing=timing)


def answer(*sequences, **parts):
    """Makes a response, of one sequence unless told otherwise."""
    return SampleResponse(sequences or [SampledSequence([7, 8])], **parts)


def floats(shape):
    """Makes a float32 tensor of a shape."""
    return TensorData([-1.0] * (shape[0] * shape[1]), "float32", shape)


def test_sequences_are_built_once(monkeypatch):
    """Giving sequences their ids neither checks nor copies what is in them again."""
    response = answer(SampledSequence([7, 8], logprobs=[-1.0, -2.0], stop_reason="length"))
    monkeypatch.setattr(SampledSequence, "__attrs_post_init__", lambda self: pytest.fail("checked again"))
    labelled = finished(response, sequence_ids=["a"]).sequences[0]
    assert (labelled.sequence_id, labelled.tokens, labelled.logprobs) == ("a", [7, 8], [-1.0, -2.0])
    assert labelled.stop_reason == "length"
    assert labelled._tokens is response.sequences[0]._tokens


@pytest.mark.parametrize("lengths", [(5,), (2, 9)])
def test_more_tokens_than_were_asked_for(lengths):
    """They are an error, which carries what came: it may have been paid for."""
    came = answer(*[SampledSequence(range(length)) for length in lengths])
    with pytest.raises(APIResponseError, match=f"sent {max(lengths)} tokens for max_tokens=4") as caught:
        finished(came, num_samples=len(lengths))
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.response.sequences == came.sequences
    assert (error.response.request_id, error.response.usage) == ("r", Usage(3, sum(lengths), 0))
    assert error.may_have_run


@pytest.mark.parametrize("options", [{"num_samples": 2}, {"topk_prompt_logprobs": 2}])
def test_what_is_refused_is_carried(options):
    """Also an answer with too few sequences, or without an option, comes with its error."""
    with pytest.raises((APIResponseError, MissingFeatureError)) as caught:
        finished(answer(), **options)
    assert caught.value.response.sequences[0].tokens == [7, 8]


def test_labels():
    """Ids, usage and timing are attached; the numbers stay."""
    response = answer(SampledSequence([7, 8]), SampledSequence([9]), prompt_cache_hit_tokens=2)
    done = finished(response, num_samples=2, sequence_ids=["a", "b"], timing=Timing(1.0))
    assert [sequence.sequence_id for sequence in done.sequences] == ["a", "b"]
    assert (done.request_id, done.usage, done.timing) == ("r", Usage(3, 3, 2), Timing(1.0))


@pytest.mark.parametrize("ids", [None, [], ["a", "b"]])
def test_ids_that_do_not_align_are_left_out(ids):
    """Ids of another number than the sequences name none of them."""
    assert finished(answer(), sequence_ids=ids).sequences[0].sequence_id is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_number_of_sequences(count):
    """There must be as many sequences as were asked for."""
    with pytest.raises(APIResponseError, match=f"{count} sequences for num_samples=2") as caught:
        finished(SampleResponse([SampledSequence([1])] * count), num_samples=2)
    assert (caught.value.request_id, caught.value.may_have_run) == ("r", True)


@pytest.mark.parametrize("came", [[None, -1.0, -2.0], [-1.0, -2.0]])
def test_prompt_logprobs_start_with_an_undefined_one(came):
    """One entry a token is kept; one less gets the undefined first one."""
    done = finished(answer(prompt_logprobs=came), include_prompt_logprobs=True)
    assert done.prompt_logprobs == [None, -1.0, -2.0]


@pytest.mark.parametrize("came", [[None, ROW, ROW], [ROW, ROW]])
def test_topk_prompt_logprobs_start_with_an_undefined_one(came):
    """The same goes for the rows of top-k tables."""
    done = finished(answer(topk_prompt_logprobs=came), topk_prompt_logprobs=1)
    assert done.topk_prompt_logprobs == [None, ROW, ROW]


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(
    ("option", "value", "entry"),
    [("include_prompt_logprobs", True, -1.0), ("topk_prompt_logprobs", 1, ROW)],
)
def test_scores_that_do_not_align(count, option, value, entry):
    """Scores that belong to another number of tokens are refused."""
    name = option.removeprefix("include_")
    with pytest.raises(APIResponseError, match=f"{count} {name} for a prompt of 3 tokens"):
        finished(answer(**{name: [entry] * count}), **{option: value})


@pytest.mark.parametrize("came", [None, []])
def test_a_prompt_of_one_token_has_no_defined_scores(came):
    """With one token in the prompt, nothing is what there is to send."""
    response = answer(prompt_logprobs=came, topk_prompt_logprobs=came)
    done = finished(response, [1], include_prompt_logprobs=True, topk_prompt_logprobs=2)
    assert (done.prompt_logprobs, done.topk_prompt_logprobs) == ([None], [None])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("include_prompt_logprobs", True),
        ("topk_prompt_logprobs", 1),
        ("topk_sample_logprobs", 1),
        ("prompt_alt_tokens_k", 1),
        ("target_prompt_logprobs", TensorData([1, 2], "int64", (2, 1))),
    ],
)
@pytest.mark.parametrize("empty", [{}, {"prompt_logprobs": [], "topk_prompt_logprobs": []}])
def test_what_was_asked_for_must_come(option, value, empty):
    """Each option that the server ignored is an error that names it and the request."""
    with pytest.raises(MissingFeatureError, match=option.removeprefix("include_")) as caught:
        finished(answer(**empty), **{option: value})
    assert (caught.value.request_id, caught.value.may_have_run) == ("r", True)


def test_what_was_not_asked_for_may_come():
    """Extras of a server are kept, aligned where they can be, and empty ones dropped."""
    assert finished(answer(prompt_logprobs=[-1.0, -2.0])).prompt_logprobs == [None, -1.0, -2.0]
    assert finished(answer(prompt_logprobs=[-1.0] * 9)).prompt_logprobs == [-1.0] * 9
    assert finished(answer(prompt_logprobs=[])).prompt_logprobs is None


def test_tensors_that_were_not_asked_for():
    """They are left out: a shape that nothing was asked for could promise more than memory holds."""
    vast = TensorData([-1.0, -2.0], "float32", (2, 2**31), [0, 1, 2], [0, 2])
    hollow = TensorData([], "int64", (2**31, 0))
    done = finished(answer(target_prompt_logprobs=vast, prompt_alt_tokens=PromptAltTokens(hollow, hollow)))
    assert (done.target_prompt_logprobs, done.prompt_alt_tokens) == (None, None)


def test_a_prompt_with_pictures_is_not_aligned():
    """How many tokens a picture takes is the server's business, so nothing is added or refused."""
    prompt = ModelInput([EncodedTextChunk([1, 2]), PICTURE])
    done = finished(answer(prompt_logprobs=[-1.0] * 9), prompt, include_prompt_logprobs=True)
    assert (done.prompt_logprobs, done.usage.prompt_tokens) == ([-1.0] * 9, 2)


@pytest.mark.parametrize("name", ["prompt_logprobs", "topk_prompt_logprobs"])
def test_last_n_must_be_heeded(name):
    """Scores before the last n tokens show that the server does not know the option."""
    entry = -1.0 if name == "prompt_logprobs" else ROW
    parts = {"prompt_logprobs": [None, None, -1.0], "topk_prompt_logprobs": [None, None, ROW]}
    options = {"include_prompt_logprobs": True, "topk_prompt_logprobs": 1, "prompt_logprobs_last_n": 1}
    assert finished(answer(**parts), **options).prompt_logprobs == [None, None, -1.0]
    with pytest.raises(MissingFeatureError, match="prompt_logprobs_last_n"):
        finished(answer(**{**parts, name: [None, entry, entry]}), **options)


def test_topk_of_a_sequence_without_tokens():
    """A sequence of no tokens has an empty table, sent or not."""
    done = finished(answer(SampledSequence([])), topk_sample_logprobs=2)
    assert done.sequences[0].topk_logprobs == []
    kept = SampledSequence([1], topk_logprobs=TopkLogprobs([ROW]))
    assert finished(answer(kept), topk_sample_logprobs=1).sequences[0].topk_logprobs == [ROW]


def test_targets_keep_their_layout():
    """Scores of target tokens come in the shape and layout of the request, as floats."""
    asked = TensorData([1, 2], "int64", (2, 3), [0, 1, 2], [0, 2])
    right = TensorData([-1.0, -2.0], "float32", (2, 3), [0, 1, 2], [0, 2])
    assert finished(answer(target_prompt_logprobs=right), target_prompt_logprobs=asked).target_prompt_logprobs == right
    wrong = [asked, floats((2, 3)), TensorData([-1.0, -2.0], "float32", (2, 3), [0, 1, 2], [0, 1]), floats((1, 1))]
    for came in wrong:
        with pytest.raises(APIResponseError, match="target_prompt_logprobs"):
            finished(answer(target_prompt_logprobs=came), target_prompt_logprobs=asked)


def test_alternatives_have_their_shape():
    """Alternative tokens come as k ids and k floats for each token after the first."""
    right = PromptAltTokens(TensorData([1, 2], "int64", (2, 1)), floats((2, 1)))
    assert finished(answer(prompt_alt_tokens=right), prompt_alt_tokens_k=1).prompt_alt_tokens == right
    for wrong in (evolve(right, tokens=floats((2, 1))), evolve(right, logprobs=floats((1, 2)))):
        with pytest.raises(APIResponseError, match="prompt_alt_tokens"):
            finished(answer(prompt_alt_tokens=wrong), prompt_alt_tokens_k=1)
    prompt = ModelInput([PICTURE])
    assert finished(answer(prompt_alt_tokens=right), prompt, prompt_alt_tokens_k=1).prompt_alt_tokens == right


def test_numbers_beyond_float32():
    """They become infinite in an array, without a warning of NumPy's."""
    done = finished(answer(prompt_logprobs=[-1e300] * 3))
    assert done.prompt_logprobs_np.tolist()[1:] == [-math.inf] * 2
