"""Programs that handle text, tested offline: the toy tokenizer, and text as the answer of a fake server."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex.chat import ChatFormat
from tinkex.testing import FakeServer, FakeServerProcess, ToyTokenizer, expected_tokens
from tinkex.tokenizers import TokenizerError, TokenPieces, get_tokenizer, tokenizer_at_hand

TOY = ToyTokenizer()
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
ASK = [{"role": "user", "content": "What is one and one?"}]


@pytest.fixture
def offline(monkeypatch):
    """Let every look-up of a tokenizer's files fail."""

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("tinkex.tokenizers._hub.HubFiles.file", refuse)
    monkeypatch.setattr("tinkex.tokenizers._hub.HubFiles.has_cached", refuse)


@pytest.fixture
def server(offline):
    """A fake server whose polls are answered at once."""
    with FakeServer(strict=True) as fake:
        yield fake
        assert fake.violations == []


@pytest.fixture
def client(server):
    """A client of a model that nobody has the tokenizer of."""
    with tinkex.ServiceClient.direct(server.url) as service:
        yield service.create_sampling_client(base_model="any/model")


def texts(client, messages=ASK, num_samples=1, **params):
    """The texts of an answer, and how each ended."""
    tokenizer = client.get_tokenizer()
    prompt = tinkex.ModelInput.from_messages(messages, tokenizer)
    params = tinkex.SamplingParams(**{"max_tokens": 100, **params})
    response = client.sample(prompt, params, num_samples=num_samples).result(10)
    return [(sequence.text(tokenizer), sequence.stop_reason) for sequence in response.sequences]


# The tokenizer


@given(st.text())
def test_any_text_comes_back(text):
    """What is encoded decodes to itself, and every token is one of the vocabulary."""
    tokens = TOY.encode(text)
    assert TOY.decode(tokens) == text
    assert all(0 <= token < 73_375 for token in tokens)


@pytest.mark.slow
def test_every_token_is_another():
    """No two tokens of the vocabulary add the same bytes, and beyond it there is nothing."""
    pieces = [TOY.decode_single_token_bytes(token) for token in range(73_376)]
    assert pieces[-1] == b""
    # Single letters are bytes as well, and as in other vocabularies they are encoded in one way.
    assert len(set(pieces)) == 73_376 - 52
    assert all(TOY.encode(piece.decode()) == [token] for token, piece in enumerate(pieces[263:-1], 263))


def test_refusals():
    """Negative ids and lone surrogates are refused, by the object and by what `get_tokenizer` gives."""
    for tokenizer in (TOY, get_tokenizer("tinkex/toy")):
        with pytest.raises(ValueError, match="-1"):
            tokenizer.decode([-1])
        with pytest.raises(ValueError, match="surrogate"):
            tokenizer.encode("\ud800")
    for wrong in (-1, 2**31, "1", 1.5):
        with pytest.raises((TypeError, ValueError), match="token"):
            TOY.decode_single_token_bytes(wrong)


def test_control_tokens():
    """Written in a text they are one token each, which can be left out of the text again."""
    assert TOY.encode("<|im_end|>") == [TOY.end_token]
    assert TOY.decode([1, *TOY.encode("Hi"), 2], skip_special_tokens=True) == "Hi"
    assert TokenPieces(get_tokenizer(TOY)).bytes_of(TOY.encode("é")[0]) == b"\xc3"


def test_the_name(offline):
    """`get_tokenizer` finds it by name, without a file, and so does whoever looks for one at hand; it pickles."""
    found = get_tokenizer("tinkex/toy")
    assert found.encode("Hello") == pickle.loads(pickle.dumps(found)).encode("Hello") == TOY.encode("Hello")
    assert tokenizer_at_hand("tinkex/toy").decode([300]) == TOY.decode([300])


def test_the_chat_format():
    """Its template takes system, tools, thinking, calls and results, and answers are read as they are written."""
    chat = ChatFormat(TOY)
    answer = chat.parse(TOY.encode(f"<think>\nhm\n</think>\n\nLet me see.\n{CALL}<|im_end|>"))
    assert (answer.reasoning_content, answer.content, answer.ended) == ("hm", "Let me see.", "turn_end")
    call = answer.tool_calls[0]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("add", '{"a": 1}')
    result = {"role": "tool", "tool_call_id": call["id"], "content": "2"}
    written = {"role": "assistant", "reasoning_content": "hm", "content": "Let me see.", "tool_calls": [call]}
    prompt = chat.prompt([{"role": "system", "content": "Add."}, *ASK, written, result], [TOOL])
    text = TOY.decode(prompt.to_ints())
    assert text.startswith('<|im_start|>system\nAdd.\n\nTools:\n{"type": "function"')
    assert text.endswith(f"Let me see.\n{CALL}<|im_end|>\n<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\n")
    assert text.count("system") == 1
    silent = ChatFormat(TOY, enable_thinking=False).prompt(ASK).to_ints()
    assert TOY.decode(silent).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


# Which tokenizer a client gets


def test_clients_get_the_toy(client, server):
    """A client gets it whatever the model, and so do its handle, its pickle and a client of its session."""
    again = tinkex.SamplingClient.from_handle(client.handle(), api_key="tml-x")
    pickled = pickle.loads(pickle.dumps(client))
    with tinkex.ServiceClient.direct(server.url) as service:
        attached = service.create_sampling_client(sampling_session_id=client.sampling_session_id)
        weights = service.create_sampling_client(model_path="tinker://run/sampler_weights/1")
        for each in (client, again, pickled, attached, weights):
            assert each.get_tokenizer().encode("Hello") == TOY.encode("Hello")


@pytest.mark.parametrize("named", ["/dev/null", "../..", "~/.profile", "."])
def test_what_a_server_names_is_no_path(named):
    """A server that names a path for its tokenizer is refused, and nothing is opened."""
    with FakeServer(tokenizer_id=named) as server, tinkex.ServiceClient.direct(server.url) as service:
        client = service.create_sampling_client(base_model="any/model")
        with pytest.raises(TokenizerError, match="neither a model name"):
            client.get_tokenizer()


def test_no_tokenizer_named(offline):
    """With `tokenizer_id=None` clients go by the name of the model, as on servers that name none."""
    with FakeServer(tokenizer_id=None) as server, tinkex.ServiceClient.direct(server.url) as service:
        client = service.create_sampling_client(base_model="any/model")
        with pytest.raises(AssertionError, match="the network was asked"):
            client.get_tokenizer()
        toy = service.create_sampling_client(base_model="tinkex/toy")
        server.answers = "Hi"
        assert texts(toy) == [("Hi<|im_end|>", "stop")]


# Answers


def test_one_text(client, server):
    """A text answers every sequence of every sample, with the token that ends a turn."""
    server.answers = "Two."
    assert texts(client, num_samples=2) == texts(client) * 2 == [("Two.<|im_end|>", "stop")] * 2


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"max_tokens": 2}, ("Hello", "length")),
        ({"max_tokens": 4}, ("Hello there", "length")),
        ({"max_tokens": 5}, ("Hello there<|im_end|>", "stop")),
        ({"stop": "lo"}, ("Hello", "stop")),
        ({"stop": ["nowhere", "o th"]}, ("Hello the", "stop")),
        ({"stop": TOY.encode(" the")}, ("Hello the", "stop")),
        ({"max_tokens": 2, "stop": ["re"]}, ("Hello", "length")),
    ],
)
def test_where_a_text_ends(client, server, params, expected):
    """It is cut at max_tokens, or behind the token that completes a stop."""
    server.answers = "Hello there"
    assert texts(client, **params) == [expected]


def test_answers_of_several_models(server):
    """Weights and models are answered by their own names; others as their base model is, and last as all others."""
    server.answers = {"tinker://a/sampler_weights/1": ["one", "two"], "m/m": "base", "*": lambda request: "other"}
    with tinkex.ServiceClient.direct(server.url) as service:
        tuned = service.create_sampling_client(base_model="m/m", model_path="tinker://a/sampler_weights/1")
        base = service.create_sampling_client(base_model="m/m")
        later = service.create_sampling_client(base_model="m/m", model_path="tinker://a/sampler_weights/2")
        other = service.create_sampling_client(base_model="n/n")
        found = [
            texts(each, max_tokens=20)[0][0].removesuffix("<|im_end|>")
            for each in (tuned, base, tuned, later, other, tuned)
        ]
        assert found == ["one", "base", "two", "base", "other", "one"]
        server.answers = {"m/m": "base"}
        with pytest.raises(tinkex.TinkexError, match=r"answers names neither n/n nor '\*'"):
            texts(other, max_tokens=20)
    with pytest.raises(TypeError, match="answers must be"):
        server.answers = {"m/m": 5}


def test_texts_one_after_another(client, server):
    """Several texts are given to one sequence after another, and then from the first again."""
    server.answers = ["a", "b", "c"]
    assert [texts(client, num_samples=count) for count in (1, 2, 1)] == [
        [(f"{text}<|im_end|>", "stop") for text in answer] for answer in ("a", "bc", "a")
    ]


def test_functions(client, server):
    """A function may give one text, a text for each sequence, or a whole response; a coroutine function too."""

    def echo(request):
        return client.get_tokenizer().decode(request.prompt.to_ints(), skip_special_tokens=True)

    async def letters(request):
        return ["x", "y"][: request.num_samples]

    server.answers = echo
    assert texts(client) == [("user\nWhat is one and one?\nassistant\n<|im_end|>", "stop")]
    server.answers = letters
    assert texts(client, num_samples=2) == [("x<|im_end|>", "stop"), ("y<|im_end|>", "stop")]
    for answers in (letters, lambda request: None, lambda request: ["x", 1, 2]):
        server.answers = answers
        with pytest.raises(tinkex.RequestFailedError, match="a SampleResponse, a text, or 3 texts, got"):
            texts(client, num_samples=3)


@pytest.mark.parametrize("wrong", [5, [], ["a", 3], b"text"])
def test_wrong_answers(server, wrong):
    """What is neither a function nor text is refused where it is set, and the server goes on as it did."""
    before = server.answers
    with pytest.raises(TypeError, match="answers must be a function, a text, or a list of texts"):
        server.answers = wrong
    with pytest.raises(TypeError, match="answers must be"):
        FakeServer(answers=wrong)
    assert server.answers is before


def test_scores_of_a_text(client, server):
    """An answer of text has all that is asked for, as other answers have."""
    server.answers = "Two."
    prompt = TOY.encode("One and one")
    response = client.sample(
        prompt, tinkex.SamplingParams(max_tokens=9), include_prompt_logprobs=True, topk_sample_logprobs=2
    ).result(10)
    (sequence,) = response.sequences
    assert len(sequence.logprobs) == len(sequence.tokens) == len(list(sequence.topk_logprobs)) == 3
    assert len(response.prompt_logprobs) == len(prompt)


def test_default_answers_are_text(client):
    """The answers of a server that is told nothing can be read as text."""
    sequence = client.sample([1, 2], tinkex.SamplingParams(max_tokens=5)).result(10).sequences[0]
    assert sequence.tokens == expected_tokens([1, 2], max_tokens=5)
    assert TOY.encode(sequence.text(client.get_tokenizer())) == sequence.tokens


@pytest.mark.slow
def test_in_a_process_of_its_own(offline):
    """A fake server elsewhere answers with text, and names its tokenizer, too."""
    with FakeServerProcess(answers="Two.") as server, tinkex.ServiceClient.direct(server.url) as service:
        assert texts(service.create_sampling_client(base_model="any/model")) == [("Two.<|im_end|>", "stop")]
