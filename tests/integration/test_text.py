"""Text in, text out: complete, chat and score on a sampling client."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import CancelledError

import pytest
from chatml import ByteTokenizer
from letters import Greedy, Letters
from serving import sampling, until

import tinkex
from tinkex.testing import FakeServer, default_answer
from tinkex.tokenizers import ChatTemplateError, TokenizerError

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")

TOKENIZER = ByteTokenizer()
USER = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def server():
    """A server whose model answers any prompt with the same text."""
    with FakeServer(strict=True) as fake:
        yield fake


@pytest.fixture
def client(server):
    """A client of it."""
    with sampling(server) as made:
        yield made


def saying(text):
    """A model that says a text."""

    def answers(request):
        sequence = tinkex.SampledSequence(TOKENIZER.encode(text), [-0.5] * len(TOKENIZER.encode(text)))
        return tinkex.SampleResponse([sequence] * request.num_samples)

    return answers


def sent(server):
    """The requests for samples that the server has seen, as JSON."""
    return [request.json for request in server.requests_to("asample")]


def prompts(server):
    """The prompts of them, as text."""
    chunks = [[chunk["tokens"] for chunk in each["prompt"]["chunks"]] for each in sent(server)]
    return sorted(TOKENIZER.decode(list(itertools.chain(*tokens))) for tokens in chunks)  # they race


def test_complete(server, client):
    """A text goes in and texts come out; parameters and options are those of `sample`."""
    server.answers = saying(" Paris. Rome.")
    future = client.complete(
        "France:", tokenizer=TOKENIZER, max_tokens=16, temperature=0, stop=".", num_samples=2, timeout=10
    )
    response = future.result(5)
    assert (response.text, response.texts) == (" Paris", [" Paris", " Paris"])
    assert response.logprob == -0.5 * len(" Paris. Rome.")
    assert response.response.usage.sampled_tokens == 26
    assert prompts(server) == ["France:"]
    (request,) = sent(server)
    assert request["num_samples"] == 2
    assert {name: request["sampling_params"][name] for name in ("max_tokens", "temperature", "stop")} == {
        "max_tokens": 16, "temperature": 0, "stop": ["."],
    }  # fmt: skip


def test_complete_in_asyncio(server, client):
    """The futures are the client's own: they can be awaited."""
    server.answers = saying("!")

    async def ask():
        return (await client.complete("a", max_tokens=4, tokenizer=TOKENIZER)).text

    assert asyncio.run(ask()) == "!"


def test_chat(server, client):
    """Messages go in and a message comes out; the turn ends where the model's chat format ends it."""
    server.answers = saying("<think>\nHm\n</think>\n\nHello<|im_end|>")
    response = client.chat(USER, tinkex.SamplingParams(max_tokens=64), tokenizer=TOKENIZER).result(5)
    assert response.message == {"role": "assistant", "content": "Hello", "reasoning_content": "Hm"}
    assert prompts(server) == ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"]
    ends = [TOKENIZER.inner.token_to_id(name) for name in ("<|im_end|>", "<|endoftext|>")]
    assert sent(server)[0]["sampling_params"]["stop"] == ends
    following = client.chat(
        response[0].extend([{"role": "user", "content": "And?"}]), max_tokens=64, tokenizer=TOKENIZER
    )
    assert following.result(5).text == "Hello"
    assert prompts(server)[1].startswith(prompts(server)[0] + "<think>\nHm\n</think>\n\nHello<|im_end|>\n")


@pytest.mark.parametrize(
    ("stop", "seen"), [(".", [".", "<|im_end|>", "<|endoftext|>"]), ([], []), ([7], [7, 257, 258])]
)
def test_stops_of_a_chat(server, client, stop, seen):
    """A stop ends an answer besides the end of the turn; an empty list leaves out both."""
    server.answers = saying("Hello. You<|im_end|>")
    response = client.chat("Hi", max_tokens=64, stop=stop, tokenizer=TOKENIZER).result(5)
    assert sent(server)[0]["sampling_params"]["stop"] == seen
    assert response.text == ("Hello" if stop == "." else "Hello. You")


def test_score(server, client):
    """Every choice is one sample behind the same prompt, of which only the choice is scored."""
    scores = client.score("It is", [" no", " yes", " no"], tokenizer=TOKENIZER).result(5)
    assert prompts(server) == ["It is no", "It is yes"]
    assert sorted(each["prompt_logprobs_last_n"] for each in sent(server)) == [3, 4]
    assert [each["sampling_params"]["max_tokens"] for each in sent(server)] == [1, 1]
    assert [each.logprobs for each in scores] == [
        tuple(-token / 256 for token in TOKENIZER.encode(text)) for text in (" no", " yes", " no")
    ]
    assert scores[0] == scores[2]
    assert scores.best == 0
    assert len(scores.responses) == 2


def test_score_behind_messages_and_tokens(server, client):
    """Choices may be answers to messages, or tokens behind tokens, for which no tokenizer is needed."""
    client.score(USER, "Yes", tokenizer=TOKENIZER).result(5)
    assert prompts(server)[0].endswith("<|im_start|>assistant\nYes")
    assert client.score([1, 2], [[3], [4]]).result(5).best == 0
    assert client.score(iter([1, 2]), [3, 4]).result(5).logprob == -7 / 256
    tokens = [each["prompt"]["chunks"][0]["tokens"] for each in sent(server)[1:]]
    assert sorted(tokens) == [[1, 2, 3], [1, 2, 3, 4], [1, 2, 4]]


def test_a_server_that_scores_the_whole_prompt(server, client):
    """Where the server does not know `prompt_logprobs_last_n`, what it sends serves all the same."""

    def answers(request):
        whole = default_answer(tinkex.SampleRequest(request.prompt, request.sampling_params, 1, True))
        return tinkex.SampleResponse(whole.sequences, whole.prompt_logprobs)

    server.answers = answers
    assert client.score([1, 2, 3], [[4, 5]]).result(5).logprobs == (-4 / 256, -5 / 256)


def test_a_server_without_logprobs(server, client):
    """A server that scores no prompts is told by its error."""
    server.answers = lambda request: tinkex.SampleResponse([tinkex.SampledSequence([1])])
    with pytest.raises(tinkex.MissingFeatureError, match="prompt_logprobs was asked for"):
        client.score([1], [[2]]).result(5)


@pytest.mark.parametrize("number", range(3))
def test_one_choice_that_fails_ends_the_score(server, client, number):
    """The error of a choice, whichever, is that of the score at once; the samples of the others are cancelled."""
    server.fail_next(
        "asample", 400, {"detail": "no"}, when=lambda request: f"[1,{number + 2}]".encode() in request.body
    )
    server.hold()
    future = client.score([1], [[2], [3], [4]])
    with pytest.raises(tinkex.BadRequestError):
        future.result(5)
    until(lambda: client.stats().in_flight == 0)


def test_a_cancelled_score_cancels_its_samples(server, client):
    """A cancel frees the places of all its samples."""
    server.hold()
    future = client.score([1], [[2], [3], [4]])
    until(lambda: client.stats().in_flight == 3)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(5)
    until(lambda: client.stats().in_flight == 0)


def test_a_full_queue(server):
    """A score that does not fit as a whole is refused as a whole."""
    with sampling(server, max_in_flight=1, max_queued=1) as client:
        server.hold()
        with pytest.raises(tinkex.QueueFullError):
            client.score([1], [[2], [3], [4], [5]], on_full="raise")
        until(lambda: client.stats().in_flight + client.stats().queued == 0)


def test_deadlines(server, client):
    """The deadline is that of the samples, with their error."""
    server.hold()
    for future in (
        client.score([1], [[2]], timeout=0.05), client.complete("a", max_tokens=4, timeout=0.05, tokenizer=TOKENIZER),
    ):  # fmt: skip
        with pytest.raises(tinkex.SampleTimeoutError):
            future.result(5)


def test_leaving_waits_for_scores(server):
    """A service that is left by its context manager lets scores end, as it does samples."""
    with tinkex.ServiceClient.direct(server.url) as service:
        client = service.create_sampling_client(base_model="any/model")
        futures = [client.score([1], [[2], [3]]) for _ in range(8)]
    assert [future.result(0).best for future in futures] == [0] * 8


def test_close(client):
    """After the end of the client nothing is begun."""
    client.client.close()
    for call in (lambda: client.score([1], [[2]]), lambda: client.complete("a", max_tokens=4, tokenizer=TOKENIZER)):
        with pytest.raises(tinkex.ClientClosedError):
            call()


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda client: client.complete([1], max_tokens=4), TypeError, r"prompt must be a text, .*chat\(\) messages"),
        (lambda client: client.complete("a"), ValueError, "max_tokens must be given"),
        (lambda client: client.complete("a", max_tokens=4, tokenizer=5), TypeError, "tokenizer"),
        (lambda client: client.complete("", max_tokens=4, tokenizer=TOKENIZER), ValueError, "prompt has no tokens"),
        (lambda client: client.chat(USER, max_tokens=4, tokenizer=Letters()), ChatTemplateError, "template"),
        (
            lambda client: client.chat(
                USER, max_tokens=4, tokenizer=TOKENIZER, template_variables={"enable_thinkin": False}
            ),
            ChatTemplateError,
            "enable_thinkin",
        ),
        (lambda client: client.score("a", "b", max_tokens=4), TypeError, r"score\(\) got an unexpected .*max_tokens"),
        (lambda client: client.chat("a", max_tokens=4, tokenizer=TOKENIZER, tools=5), TypeError, "tools must be"),
        (
            lambda client: client.chat(tinkex.ModelInput.from_ints([1]), max_tokens=4, tokenizer=TOKENIZER, tools=[5]),
            TypeError,
            r"tools\[0\] must be a dict such as",
        ),
        (lambda client: client.score("a", [], tokenizer=TOKENIZER), ValueError, "choices"),
        (lambda client: client.score([], [5]), ValueError, "prompt must not be empty"),
        (lambda client: client.score([1], [5], tools=[]), ValueError, "tools is for messages"),
        (
            lambda client: client.score("a", "b", template_variables={}),
            ValueError,
            "template_variables is for messages",
        ),
        (lambda client: client.score("", "b", tokenizer=TOKENIZER), ValueError, "no token that stands before"),
        (lambda client: client.sample("a", tinkex.SamplingParams(max_tokens=4)), TypeError, r"client.complete\(text"),
        (lambda client: client.sample(USER, tinkex.SamplingParams(max_tokens=4)), TypeError, r"client.chat\(messages"),
        (lambda client: client.compute_logprobs("a"), TypeError, r"client.complete\(text"),
    ],
)
def test_what_is_wrong_is_said_at_once(server, client, call, kind, words):
    """A wrong argument is named in the caller's thread, and text is told which call takes it."""
    with pytest.raises(kind, match=words):
        call(client)
    assert sent(server) == []


def test_a_text_among_token_ids(client):
    """A wrong item of a stream is told with its number, and which call takes it."""
    wrong = r"items\[1\]: prompt must be token ids, got the text 'a': .*call=client.complete"
    params = tinkex.SamplingParams(max_tokens=4)
    with pytest.raises(TypeError, match=wrong):
        list(client.sample_many([[1], "a"], params))
    for item in (USER, {"messages": USER}, USER[0]):
        with pytest.raises(TypeError, match=r"items\[1\]: .*call=client.chat"):
            list(client.sample_many([[1], item], params))


@pytest.mark.parametrize("ordered", [True, False])
def test_a_call_that_begins_nothing(client, ordered):
    """What is not a function, and one that returns no future, are refused by name."""
    with pytest.raises(TypeError, match="call must be a function that returns a future, got 5"):
        client.sample_many(["a"], call=5)
    with pytest.raises(TypeError, match=r"items\[0\]: call must return a future of this client, not 1"):
        list(client.sample_many(["a"], call=len, ordered=ordered))


def test_no_tokenizer(client, monkeypatch):
    """Where the model's tokenizer cannot be had, the call says so, and nothing is sent."""
    monkeypatch.setattr(type(client.client), "get_tokenizer", _no_tokenizer)
    with pytest.raises(TokenizerError, match="none"):
        client.complete("a", max_tokens=4)


def _no_tokenizer(self, *, timeout):
    assert timeout is None
    raise TokenizerError("none")


def test_tokenizers_are_kept(client):
    """What is made of a tokenizer is made once, until another is given."""
    first, other = Greedy(), Greedy()
    client.complete("a", max_tokens=1, tokenizer=first).result(5)
    kept = client._codec
    client.complete("b", max_tokens=1, tokenizer=first).result(5)
    assert client._codec is kept
    client.complete("b", max_tokens=1, tokenizer=other).result(5)
    assert client._codec is not kept


def test_streams_of_texts(server, client):
    """`sample_many` begins its items with the call that it is given, and passes on what they have in common."""
    server.answers = saying("Hello<|im_end|>")
    shared = {"max_tokens": 16, "tokenizer": TOKENIZER}
    texts = client.sample_many(["a", {"prompt": "b"}], call=client.complete, **shared)
    assert [each.text for each in texts] == ["Hello", "Hello"]
    answers = client.sample_many([USER, {"messages": USER}], call=client.chat, **shared)
    assert [each.message["content"] for each in answers] == ["Hello", "Hello"]
    server.answers = default_answer
    scores = client.sample_many(
        [{"prompt": [1], "choices": [[2], [3]]}, {"prompt": [1], "choices": [[9], [3]]}],
        call=client.score,
        ordered=False,
    )
    assert {index: each.best for index, each in scores} == {0: 0, 1: 1}
