"""The gateway over a fake server: what OpenAI's clients send, and what they find in the answers."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time

import aiohttp
import pytest
import requests
import tokenizers
from gateways import END, MODEL, PICTURES, PNG, TOKENIZER, USER, Asking, Bytes, events, says, serving
from serving import KEY, make_service

import tinkex
from tinkex.serve import Gateway, make_app
from tinkex.testing import EngineError, FakeServer


def said(part):
    """Messages with one part."""
    return [{"role": "user", "content": [part]}]


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def gateway():
    """A gateway whose model always says the same."""
    with serving(says("Hello.<|im_end|>"), models=[MODEL]) as asking:
        yield asking


def test_completion(gateway):
    """A completion has the text without the end token, the reason, the usage, and the name that was asked for."""
    response = gateway.complete("Hi", n=2)
    body = response.json()
    assert [choice["text"] for choice in body["choices"]] == ["Hello.", "Hello."]
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert (body["object"], body["model"], body["choices"][0]["finish_reason"]) == ("text_completion", MODEL, "stop")
    assert body["usage"] == {
        "prompt_tokens": 2, "completion_tokens": 14, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 1},
    }  # fmt: skip


def test_special_tokens_of_a_completion():
    """The tokenizer's special tokens stand around a text, unless `add_special_tokens` is false."""
    tokenizer = Bytes()
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", TOKENIZER.encode("<|im_start|>")[0])]
    )
    with serving(says("a"), tokenizer=tokenizer) as asking:
        for body, text in (({}, "<|im_start|>Hi"), ({"add_special_tokens": False}, "Hi")):
            asking.complete("Hi", **body)
            assert asking.sampled()[-1]["prompt"]["chunks"][0]["tokens"] == TOKENIZER.encode(text)
            answer = asking.post("/tokenize", {"model": MODEL, "prompt": "Hi", **body}).json()
            assert answer["tokens"] == TOKENIZER.encode(text)
        echoed = asking.choice(asking.complete("Hi", echo=True, logprobs=0))
    assert echoed["text"] == "Hia"
    assert echoed["logprobs"]["tokens"] == ["<|im_start|>", "H", "i", "a"]
    assert echoed["logprobs"]["text_offset"] == [0, 0, 1, 2]


def test_defaults_of_a_completion(gateway):
    """Without max_tokens a completion has 16, and `stop: []` sends no stop: on the wire it would mean never to stop."""
    gateway.complete("Hi", stop=[])
    params = gateway.sampled()[-1]["sampling_params"]
    assert params["max_tokens"] == 16
    assert params.get("stop") is None


def test_several_prompts(gateway):
    """Several prompts are several samples, whose choices stand in their order; usage counts all."""
    body = gateway.complete(["a", "bcd"], n=2, return_token_ids=True).json()
    assert [choice["prompt_token_ids"] for choice in body["choices"]] == [
        ids for text in ("a", "bcd") for ids in [TOKENIZER.encode(text)] * 2
    ]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["prompt_tokens"] == 4


def test_stop_text():
    """The text ends before the stop text, wherever it stands in a token."""
    with serving(says("one two", stop_reason="length")) as asking:
        choice = asking.choice(asking.complete(stop=["tw"]))
    assert (choice["text"], choice["finish_reason"]) == ("one ", "stop")


def test_stop_token(gateway):
    """A stop token of the request's own is sent as a token, and is not in the text."""
    choice = gateway.choice(gateway.complete(stop_token_ids=[END], return_token_ids=True))
    assert (choice["text"], choice["token_ids"][-1]) == ("Hello.", END)
    assert gateway.sampled()[-1]["sampling_params"]["stop"] == [END]


def test_echo_and_logprobs(gateway):
    """Echo gives the prompt's entries, the first null, then one for every sampled token, the one that ended it too."""
    choice = gateway.choice(gateway.complete("Hi", echo=True, logprobs=1, max_tokens=9))
    scores = choice["logprobs"]
    assert choice["text"] == "HiHello."
    assert scores["tokens"] == [*"HiHello.", "<|im_end|>"]
    assert scores["token_logprobs"][0] is None
    assert scores["top_logprobs"][0] is None
    assert len(scores["token_logprobs"]) == len(scores["text_offset"]) == 9
    assert scores["text_offset"] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    for own, top in zip(scores["token_logprobs"][1:], scores["top_logprobs"][1:], strict=True):
        assert own == max(top.values())


def test_echo_of_the_prompt_alone(gateway):
    """`max_tokens: 0` with echo samples one token, as servers want, and drops it."""
    choice = gateway.choice(gateway.complete("Hi", echo=True, logprobs=0, max_tokens=0))
    assert (choice["text"], choice["logprobs"]["tokens"], choice["logprobs"]["top_logprobs"]) == (
        "Hi",
        ["H", "i"],
        None,
    )
    assert gateway.sampled()[-1]["sampling_params"]["max_tokens"] == 1


def test_prompt_logprobs_in_order(gateway):
    """The first key of a position's prompt_logprobs, in document order, is the prompt's own token."""
    response = gateway.complete("zA", prompt_logprobs=2, max_tokens=1)
    choice = gateway.choice(response)
    own = TOKENIZER.encode("A")[0]
    assert choice["prompt_logprobs"][0] is None
    assert next(iter(choice["prompt_logprobs"][1])) == str(own)
    assert choice["prompt_logprobs"][1][str(own)] == {
        "logprob": -own / 256,
        "rank": 1,
        "decoded_token": "A",
    }
    assert list(choice["prompt_logprobs"][1]) == [str(own), str(own + 1)]


def test_the_own_number_stands_in_the_row_as_well():
    """A token has one number: where it is among the likeliest, the same float stands in both places."""

    def answers(request):
        top = tinkex.types.TopkLogprobs([[(72, -0.5), (73, -0.75)]])
        return tinkex.SampleResponse([tinkex.SampledSequence([72], [-0.5000001192092896], top, "length")])

    with serving(answers) as asking:
        scores = asking.choice(asking.complete(logprobs=2))["logprobs"]
    assert scores["token_logprobs"][0] == max(scores["top_logprobs"][0].values())


def test_rank_unknown():
    """The rank of a prompt's token that is not among the likeliest is null: the server does not tell it."""

    def answers(request):
        top = tinkex.types.TopkLogprobs([None, [(80, -0.5)]])
        sequence = tinkex.SampledSequence([72], [-0.5], None, "length")
        return tinkex.SampleResponse([sequence], [None, -7.5], top)

    with serving(answers) as asking:
        choice = asking.choice(asking.complete([71, 72], prompt_logprobs=1))
    assert [entry["rank"] for entry in choice["prompt_logprobs"][1].values()] == [None, 1]


def test_tokens_by_id(gateway):
    """With return_tokens_as_token_ids every token goes by its id, also without any of the likeliest."""
    scores = gateway.choice(gateway.complete(logprobs=0, return_tokens_as_token_ids=True))["logprobs"]
    assert scores["tokens"][0] == f"token_id:{TOKENIZER.encode('H')[0]}"
    assert len(scores["token_logprobs"]) == 7


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temprature": 1}, "temprature"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"min_p": 0.1}, "min_p"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 2**31}, "n"),
        ({"logprobs": 2**31}, "logprobs"),
        ({"stop": {}}, "stop"),
        ({"stop_token_ids": [2**31]}, "stop_token_ids"),
        ({"stop_token_ids": [False]}, "stop_token_ids"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options"),
        ({"include_reasoning": False}, "include_reasoning"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": [1]}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": ["a"], "stop_token_ids": [1]}, "stop_token_ids"),
        ({"logprobs": True}, "logprobs"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"other": 1}}, "stream_options"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_completion_refused(gateway, body, param):
    """What cannot be had is 400 with its field; nothing is sampled."""
    before = gateway.server.counts["asample"]
    status, error = gateway.error(gateway.complete(**{"prompt": "Hi", **body}))
    assert (status, error["param"]) == (400, param.partition("[")[0]), error
    assert gateway.server.counts["asample"] == before


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs"),
        ({"include_reasoning": False}, "include_reasoning"),
        ({"messages": [{"role": 5, "content": "Hi"}]}, "messages"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"echo": True}, "echo"),
        ({"functions": [{"name": "look"}]}, "functions"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"content": "Hi"}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y"}}]}]},
            "messages",
        ),
        ({"messages": said({"type": "input_audio", "input_audio": {}})}, "messages"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
    ],
)
def test_chat_refused(gateway, body, param):
    """What cannot be had in a chat is 400 with its field; nothing is sampled."""
    before = gateway.server.counts["asample"]
    status, error = gateway.error(gateway.chat(**{"messages": USER, **body}))
    assert (status, error["param"]) == (400, param), error
    assert gateway.server.counts["asample"] == before


def test_what_has_no_effect_passes(gateway):
    """Fields without effect and neutral values, which clients write out, are taken."""
    neutral = {
        "user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "logit_bias": {}, "min_p": 0,
        "presence_penalty": 0, "frequency_penalty": 0.0, "repetition_penalty": 1, "response_format": {"type": "text"},
    }  # fmt: skip
    assert gateway.complete(**neutral, best_of=1, suffix="", echo=False).status_code == 200
    chat = gateway.chat(
        **neutral, parallel_tool_calls=False, modalities=["text"], tools=[], tool_choice="auto", seed=None
    )
    assert chat.status_code == 200


def test_chat(gateway):
    """A chat is rendered with the model's template, ends at the turn's end, and has the message and the usage."""
    response = gateway.chat(logprobs=True, top_logprobs=1, return_token_ids=True)
    choice = gateway.choice(response)
    assert choice["message"] == {"role": "assistant", "content": "Hello."}
    assert choice["finish_reason"] == "stop"
    content = choice["logprobs"]["content"]
    assert [entry["token"] for entry in content] == [*"Hello.", "<|im_end|>"]
    assert [entry["bytes"] for entry in content[:2]] == [[72], [101]]
    assert content[0]["top_logprobs"] == [{"token": "H", "logprob": content[0]["logprob"], "bytes": [72]}]
    assert choice["token_ids"] == TOKENIZER.encode("Hello.<|im_end|>")
    sampled = gateway.sampled()[-1]
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert sampled["prompt"]["chunks"][0]["tokens"] == response.json()["prompt_token_ids"] == TOKENIZER.encode(prompt)
    assert END in sampled["sampling_params"]["stop"]
    assert sampled["sampling_params"]["max_tokens"] == 32_768 - len(TOKENIZER.encode(prompt))


def test_stops_of_a_chat(gateway):
    """Stop texts of a request do not keep the turn from ending: the names of its end tokens are sent with them."""
    choice = gateway.choice(gateway.chat(stop="l"))
    assert (choice["message"]["content"], choice["finish_reason"]) == ("He", "stop")
    assert set(gateway.sampled()[-1]["sampling_params"]["stop"]) == {"l", "<|im_end|>", "<|endoftext|>"}


def test_most_tokens_of_a_chat():
    """A chat's answer has what is left of the context, at most `max_tokens` of the gateway; a request may say more."""
    with serving(says("a"), models=[MODEL], max_tokens=100) as asking:
        asking.chat()
        asking.chat(max_tokens=200)
        asking.chat(max_completion_tokens=300)
        assert [each["sampling_params"]["max_tokens"] for each in asking.sampled()] == [100, 200, 300]


def test_tool_calls_and_reasoning():
    """Calls and reasoning are parsed out of the answer where the model's format is known."""
    call = '<tool_call>\n{"name": "look", "arguments": {"at": 1}}\n</tool_call>'
    with serving(says(f"<think>\nLet me see.\n</think>\n\n{call}<|im_end|>")) as asking:
        choice = asking.choice(asking.chat(tools=[TOOL]))
        streamed = events(asking.chat(tools=[TOOL], stream=True))
        prompt = TOKENIZER.decode(asking.sampled()[0]["prompt"]["chunks"][0]["tokens"])
    assert '"look"' in prompt
    message = choice["message"]
    assert (message["reasoning_content"], choice["finish_reason"]) == ("Let me see.", "tool_calls")
    (call,) = message["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("look", {"at": 1})
    delta = json.loads(streamed[1])["choices"][0]["delta"]
    assert delta["tool_calls"] == [{"index": 0, **call}]
    assert json.loads(streamed[2])["choices"][0]["finish_reason"] == "tool_calls"


def test_calls_that_cannot_be_read_stay_text():
    """A call that cannot be read stands in the content as it was sampled."""
    with serving(says("<tool_call>\n{broken\n</tool_call><|im_end|>")) as asking:
        choice = asking.choice(asking.chat(tools=[TOOL]))
    assert "broken" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


def test_tools_that_the_template_leaves_out():
    """Tools that the template renders as nothing are refused: the model would not know of them."""
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    with serving(says("a"), tokenizer=Bytes(template)) as asking:
        status, error = asking.error(asking.chat(tools=[TOOL]))
        assert asking.chat(tools=[TOOL], tool_choice="none").status_code == 200
    assert (status, error["param"]) == (400, "tools")


NULL_WITH_CALLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is none %}{% for c in m.tool_calls %}<tool_call>"
    "{{ c.function.name }}{{ c.function.arguments }}</tool_call>{% endfor %}{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>{% endfor %}"
)


def test_what_stands_beside_tool_calls():
    """No content beside tool calls may have any form; a text that the template leaves out there is refused."""
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "a", "content": "dry"}

    def conversation(result=result, **content):
        return [*USER, {"role": "assistant", **content, "tool_calls": [call]}, result]

    with serving(says("a"), tokenizer=Bytes(NULL_WITH_CALLS)) as asking:
        for content in ({"content": None}, {"content": ""}, {"content": []}, {}):
            assert asking.chat(conversation(**content)).status_code == 200, content
        prompts = {tuple(each["prompt"]["chunks"][0]["tokens"]) for each in asking.sampled()}
        refused = [
            asking.error(asking.chat(messages))
            for messages in (conversation(content="Look."), conversation({**result, "tool_call_id": "b"}))
        ]
    (prompt,) = prompts
    assert "<|im_start|>assistant\n<tool_call>look{}</tool_call><|im_end|>" in TOKENIZER.decode(prompt)
    assert [(status, error["param"]) for status, error in refused] == [(400, "messages")] * 2
    assert "messages[1].tool_calls[0]" in refused[0][1]["message"]
    assert "messages[2].tool_call_id is 'b'" in refused[1][1]["message"]


def test_template_variables(gateway, caplog):
    """Variables reach the template; one that it does not read is left out, with one log line."""
    caplog.set_level(logging.WARNING, "tinkex.serve")
    for _ in range(2):
        gateway.chat(chat_template_kwargs={"enable_thinking": False, "foo": 1})
    prompt = TOKENIZER.decode(gateway.sampled()[-1]["prompt"]["chunks"][0]["tokens"])
    assert prompt.endswith("<think>\n\n</think>\n\n")
    assert [record.getMessage().endswith("does not read foo.") for record in caplog.records] == [True]


def test_continued_message(gateway):
    """With continue_final_message the prompt ends inside the last message."""
    messages = [*USER, {"role": "assistant", "content": "Well, "}]
    gateway.chat(messages, continue_final_message=True, add_generation_prompt=False)
    prompt = TOKENIZER.decode(gateway.sampled()[-1]["prompt"]["chunks"][0]["tokens"])
    assert prompt.endswith("<|im_start|>assistant\nWell, ")


def test_picture_without_a_place(gateway):
    """A picture in a data: URL is read, and refused where the model's template has no place for one."""
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    status, error = gateway.error(gateway.chat([{"role": "user", "content": [part]}]))
    assert (status, error["param"]) == (400, "messages")


def test_picture():
    """A picture in a data: URL is sent where the template leaves a place for it; other URLs are refused."""
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}

    def answers(request):
        return tinkex.SampleResponse([tinkex.SampledSequence([72], [-0.5], None, "length")])

    with serving(answers, tokenizer=Bytes(PICTURES)) as asking:
        answer = asking.chat([{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}], max_tokens=2)
        assert answer.status_code == 200, answer.text
        chunks = asking.sampled()[0]["prompt"]["chunks"]
    assert [chunk["type"] for chunk in chunks] == ["encoded_text", "image", "encoded_text"]
    assert (chunks[1]["data"], chunks[1]["format"]) == (PNG, "png")


def test_prompt_logprobs_of_a_chat(gateway):
    """A chat has vLLM's prompt_logprobs beside its choices, one entry a token of the prompt."""
    body = gateway.chat(prompt_logprobs=0, top_k=5, seed=7, temperature=0.5).json()
    assert len(body["prompt_logprobs"]) == body["usage"]["prompt_tokens"]
    assert body["prompt_logprobs"][0] is None
    assert all(len(entry) == 1 for entry in body["prompt_logprobs"][1:])
    params = gateway.sampled()[-1]["sampling_params"]
    assert (params["top_k"], params["seed"], params["temperature"]) == (5, 7, 0.5)


def test_models_kept(monkeypatch):
    """A bounded number of models is kept open; one that was let go is opened anew."""
    monkeypatch.setattr("tinkex.serve.models._MOST_MODELS", 2)
    with serving(says("a")) as asking:
        for name in ("a", "b", "a", "c", "a", "b"):
            assert asking.post("/v1/completions", {"model": name, "prompt": "Hi"}).status_code == 200
        assert asking.server.counts["create_sampling_session"] == 4


def test_streaming(gateway):
    """A chat streams a role, its content with log-probabilities, a reason, the usage, and the mark of the end."""
    response = gateway.chat(stream=True, logprobs=True, stream_options={"include_usage": True})
    *parts, end = events(response)
    role, content, reason, usage = (json.loads(part) for part in parts)
    assert end == "[DONE]"
    assert {part["object"] for part in (role, content, reason, usage)} == {"chat.completion.chunk"}
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert content["choices"][0]["delta"] == {"content": "Hello."}
    assert len(content["choices"][0]["logprobs"]["content"]) == 7
    assert (reason["choices"][0]["delta"], reason["choices"][0]["finish_reason"]) == ({}, "stop")
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 7)


def test_streaming_completion(gateway):
    """A completion streams its text and the reason, choice by choice; without usage unless it is asked for."""
    *parts, end = events(gateway.complete(stream=True, n=2))
    assert end == "[DONE]"
    texts = [
        (each["index"], each["text"], each["finish_reason"]) for part in parts for each in json.loads(part)["choices"]
    ]
    assert texts == [(0, "Hello.", None), (0, "", "stop"), (1, "Hello.", None), (1, "", "stop")]


def test_overflow(gateway):
    """What does not fit is 400 with OpenAI's code, and the words by which LiteLLM knows it; nothing is sampled."""
    before = gateway.server.counts["asample"]
    status, error = gateway.error(gateway.chat(max_tokens=40_000))
    assert (status, error["code"], error["param"]) == (400, "context_length_exceeded", "max_tokens")
    assert error["message"].startswith("This model's maximum context length is 32768 tokens. However, you requested")
    status, error = gateway.error(gateway.complete([1] * 32_768, max_tokens=1))
    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert gateway.server.counts["asample"] == before


def test_unknown_model(gateway):
    """A name that the server does not have is 404 with OpenAI's code, and no other model answers for it."""
    for name in ("gpt-9", ""):
        status, error = gateway.error(gateway.post("/v1/completions", {"model": name, "prompt": "Hi"}))
        assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")


def test_models(gateway):
    """The list has the server's models with their contexts; one can be asked for with slashes in its name."""
    (entry,) = gateway.get("/v1/models").json()["data"]
    assert (entry["id"], entry["root"], entry["max_model_len"], entry["object"]) == (MODEL, MODEL, 32_768, "model")
    assert gateway.get(f"/v1/models/{MODEL}").json() == entry
    assert gateway.get("/v1/models/no/such").status_code == 404


def test_names_of_models():
    """Base names, paths, the hosted form and aliases are served, each by the name asked for; and no others."""
    served = [MODEL, "mine=tinker://run/sampler_weights/1", f"{MODEL};tinker://run/sampler_weights/2"]
    with serving(says("a"), served=served) as asking:
        listed = asking.get("/v1/models").json()["data"]
        assert [(each["id"], each["root"], each["parent"]) for each in listed] == [
            (MODEL, MODEL, None),
            ("mine", "tinker://run/sampler_weights/1", None),
            (served[2], "tinker://run/sampler_weights/2", MODEL),
        ]
        for name in ("mine", served[2]):
            answer = asking.post("/v1/completions", {"model": name, "prompt": "Hi"})
            assert answer.json()["model"] == name
            assert asking.get(f"/v1/models/{name}").status_code == 200
        bodies = [json.loads(request.body) for request in asking.server.requests_to("create_sampling_session")]
        assert [(body.get("base_model"), body.get("model_path")) for body in bodies] == [
            (None, "tinker://run/sampler_weights/1"),
            (MODEL, "tinker://run/sampler_weights/2"),
        ]
        assert asking.post("/v1/completions", {"model": "other/model", "prompt": "Hi"}).status_code == 404


def test_any_path():
    """Without a list of models, any path can be asked for by its name, also in the address of a model."""
    with serving(says("a")) as asking:
        assert (
            asking.get("/v1/models/tinker://run/sampler_weights/1").json()["root"] == "tinker://run/sampler_weights/1"
        )


def test_one_client_a_name():
    """Racing requests for a model make one sampling client of it."""
    with serving(says("a")) as asking:
        threads = [threading.Thread(target=asking.complete) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asking.server.counts["create_sampling_session"] == 1
        assert asking.server.counts["asample"] == 8


def test_without_a_tokenizer():
    """Without a tokenizer prompts of ids work, and answer with ids; a text says what is missing."""
    with serving(tokenizer=None, models=["no-such-org/no-such-model"], tokenizer_id=None) as asking:
        body = {"model": "no-such-org/no-such-model", "max_tokens": 2}
        choice = asking.choice(asking.post("/v1/completions", {**body, "prompt": [1, 2], "logprobs": 0}))
        assert len(choice["token_ids"]) == 2
        assert choice["logprobs"]["tokens"] == [f"token_id:{token}" for token in choice["token_ids"]]
        status, error = asking.error(asking.post("/v1/completions", {**body, "prompt": "Hi"}))
    assert status == 400
    assert "tokenizer" in error["message"]


def test_tokenizer_endpoints(gateway):
    """Texts and messages become tokens and back, special tokens are told, and no name means the only model."""
    body = gateway.post("/tokenize", {"prompt": "Hé", "return_token_strs": True}).json()
    assert body == {
        "count": 3, "max_model_len": 32_768, "tokens": TOKENIZER.encode("Hé"), "token_strs": ["H", r"\xc3", r"\xa9"],
    }  # fmt: skip
    assert gateway.post("/detokenize", {"tokens": [*body["tokens"], END]}).json() == {"prompt": "Hé<|im_end|>"}
    chat = {"messages": USER, "add_generation_prompt": False, "chat_template_kwargs": {"foo": 2}}
    ids = gateway.post("/tokenize", chat).json()["tokens"]
    assert TOKENIZER.decode(ids) == "<|im_start|>user\nHi<|im_end|>\n"
    info = gateway.get("/tokenizer_info").json()
    assert info["eos_token"] == "<|endoftext|>"
    assert gateway.error(gateway.post("/tokenize", {"prompt": "a", "other": 1}))[1]["param"] == "other"
    assert gateway.error(gateway.post("/detokenize", {}))[1]["param"] == "tokens"


def test_errors_have_one_form(gateway):
    """Every refusal has OpenAI's error object: unknown paths, methods, bodies that are no JSON, and their types."""
    form = {"message", "type", "param", "code"}
    answers = [
        gateway.get("/v1/nothing"),
        gateway.get("/v1/completions"),
        requests.post(
            f"{gateway.url}/v1/completions", data="{", headers={"Content-Type": "application/json"}, timeout=9
        ),
        requests.post(
            f"{gateway.url}/v1/completions", data="[]", headers={"Content-Type": "application/json"}, timeout=9
        ),
        requests.post(f"{gateway.url}/v1/completions", data="{}", headers={"Content-Type": "text/plain"}, timeout=9),
        gateway.post("/v1/completions", {"model": MODEL, "prompt": "Hi"}, Host="evil.example"),
        gateway.post("/v1/completions", {"model": MODEL, "prompt": "Hi"}, Origin="http://evil.example"),
    ]
    assert [answer.status_code for answer in answers] == [404, 405, 400, 400, 415, 403, 403]
    assert all(set(answer.json()["error"]) == form for answer in answers)


def test_large_bodies(gateway):
    """Bodies are bounded, whether announced or not."""
    large = b" " * (64 * 2**20 + 1)
    headers = {"Content-Type": "application/json"}
    for data in (large, iter([large])):
        try:
            status = requests.post(f"{gateway.url}/v1/completions", data=data, headers=headers, timeout=60).status_code
        except requests.ConnectionError:  # answered, and closed, before all of it was sent
            status = 413
        assert status == 413
    deep = b'{"a":' * 100_000
    assert requests.post(f"{gateway.url}/v1/completions", data=deep, headers=headers, timeout=60).status_code == 400


# --- Failures


@pytest.mark.parametrize(
    ("fault", "status", "code", "retried"),
    [
        ({"status": 401}, 401, "upstream_key_refused", "false"),
        ({"status": 402}, 402, "billing", "false"),
        ({"status": 403}, 403, "upstream_forbidden", "false"),
        ({"status": 400, "body": {"detail": "no"}}, 400, "upstream_refused", "false"),
        ({"status": 422}, 400, "upstream_refused", "false"),
        ({"status": 500}, 502, "upstream_error", "false"),
        ({"status": 429, "headers": {"Retry-After": "2.5"}}, 429, "rate_limit_exceeded", None),
    ],
)
def test_upstream_errors(fault, status, code, retried):
    """What asking again cannot mend is 4xx; what tinkex has retried tells clients not to; a rate limit says when."""
    retry = tinkex.RetryConfig(max_attempts=1)
    settings = {"on_rate_limit": "raise", "billing_wait": 0.0, "retry": retry}
    with serving(says("a"), settings=settings) as asking:
        assert asking.complete().status_code == 200
        asking.server.fail_next("asample", times=9, **fault)
        answer = asking.complete()
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.headers.get("x-should-retry") == retried
    assert answer.headers.get("Retry-After") == ("3" if status == 429 else None)
    assert KEY not in answer.text


def test_failed_samples():
    """A sample that the server blames on the request is 400; an overflow that only the server knows of has its code."""

    def answers(request):
        raise EngineError("the prompt exceeds the context length", category="user")

    with serving(answers) as asking:
        status, error = asking.error(asking.complete())
    assert (status, error["code"]) == (400, "context_length_exceeded")


def test_one_failed_prompt_fails_the_body():
    """Of several prompts in a body, one that fails fails the body."""

    def answers(request):
        if request.prompt.length == 2:
            raise EngineError("no", category="user")
        return says("a")(request)

    with serving(answers) as asking:
        assert asking.complete(["abc", "de", "fgh"]).status_code == 400


def test_overload():
    """A full queue is 503 with Retry-After, also where the service would block; other routes go on."""
    settings = {"max_in_flight": 1, "max_queued": 1, "on_full": "block"}
    with serving(says("a"), settings=settings) as asking:
        asking.get(f"/v1/models/{MODEL}")
        asking.server.hold()
        threads = [threading.Thread(target=asking.complete) for _ in range(2)]
        threads[0].start()
        eventually(lambda: asking.service.stats().waiting == 1)
        threads[1].start()
        eventually(lambda: asking.service.stats().queued == 1)
        answer = asking.complete(stream=True)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "x-should-retry" not in answer.headers
        assert asking.get("/health").status_code == 200
        asking.server.release()
        for thread in threads:
            thread.join()


def eventually(condition):
    """Wait until something holds, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_patience():
    """The client's read timeout bounds the sample, which ends with 504, not to be asked again."""
    with serving(latency=30.0) as asking:
        asking.get(f"/v1/models/{MODEL}")
        answer = asking.post("/v1/completions", {"model": MODEL, "prompt": "Hi"}, **{"X-Stainless-Read-Timeout": "0.2"})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")


def test_hanging_up():
    """A client that hangs up cancels its sample, and the Tinker server is told."""
    flags = {"dynamic_config": {"sample_cancel_enabled": True}}
    with serving(latency=60.0, **flags) as asking:
        asking.get(f"/v1/models/{MODEL}")
        host, port = asking.url.removeprefix("http://").split(":")
        body = json.dumps({"model": MODEL, "prompt": "Hi"}).encode()
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            asking.server.wait_for("client/dynamic_config")
            eventually(lambda: asking.service.stats().waiting == 1)
        asking.server.wait_for("cancel_future")
        assert asking.service.stats().in_flight == 0


# --- Keys


def test_keys():
    """With keys set, a request needs one of them; a Bearer with nothing after it is none. Health needs none."""
    with serving(says("a"), models=[MODEL], api_key=["one", "two"]) as asking:
        for header in (
            {},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer three"},
            {"Authorization": "Basic one"},
        ):
            for answer in (
                asking.get("/v1/models", **header),
                asking.post("/v1/completions", {"prompt": "Hi"}, **header),
            ):
                status, error = asking.error(answer)
                assert (status, error["code"]) == (401, "invalid_api_key")
        for key in ("one", "two"):
            assert asking.get("/v1/models", Authorization=f"Bearer {key}").status_code == 200
        assert asking.get("/health").status_code == 200


def test_a_bearer_without_a_key_where_none_is_needed(gateway):
    """lm-eval sends a Bearer with nothing after it: where no key is set, it is none."""
    assert gateway.get("/v1/models", Authorization="Bearer ").status_code == 200


def test_addresses_beyond_this_machine():
    """Beyond the loopback interface a key must be set."""
    with tinkex.ServiceClient.direct("http://127.0.0.1:9") as service:
        with pytest.raises(ValueError, match=r"host: 0\.0\.0\.0 .* api_key"):
            Gateway(service, host="0.0.0.0")
        with pytest.raises(ValueError, match="api_key must not be empty"):
            Gateway(service, api_key="")
        with pytest.raises(ValueError, match="allowed_hosts must not be empty"):
            Gateway(service, allowed_hosts=[""])
        with pytest.raises(ValueError, match=r"host: example\.org"):
            make_app(service, listens_on="example.org")
        with pytest.raises(ValueError, match="max_tokens must be at least 1"):
            Gateway(service, max_tokens=0)
        with pytest.raises(ValueError, match="'a' is given twice"):
            Gateway(service, ["a", "a=b"])


def test_other_names_with_a_key():
    """Beyond the loopback interface any name of the host will do: the key keeps pages of others out."""
    with serving(says("a"), models=[MODEL], host="0.0.0.0", api_key="one") as asking:
        url = asking.url.replace("0.0.0.0", "127.0.0.1")
        headers = {"Host": "gateway.example", "Authorization": "Bearer one"}
        assert requests.get(f"{url}/v1/models", headers=headers, timeout=9).status_code == 200


def test_names_of_a_proxy_in_front():
    """Beside the loopback names those that are allowed are answered, as Host and as Origin; the others are not."""
    with serving(says("a"), models=[MODEL], allowed_hosts=["models.example"]) as asking:
        for host, status in (("models.example", 200), ("models.example:8443", 200), ("evil.example", 403)):
            assert asking.get("/v1/models", Host=host).status_code == status
            assert asking.get("/v1/models", Origin=f"https://{host}").status_code == status
    with serving(says("a"), models=[MODEL], allowed_hosts="*") as asking:
        assert asking.get("/v1/models", Host="evil.example").status_code == 200


def test_the_log(gateway, caplog):
    """The log of requests has method, path, status and time, and nothing of what is asked."""
    caplog.set_level(logging.INFO)
    gateway.complete("a very secret prompt")
    gateway.post("/v1/completions?secret=prompt", {"model": MODEL, "prompt": 5, "secret": "prompt"})
    gateway.get("/health")  # a line is written after its answer, and before the next request is read
    lines = [record.getMessage() for record in caplog.records if record.name == "tinkex.serve"]
    assert [line.rsplit(" ", 2)[0] for line in lines][:2] == ["POST /v1/completions 200", "POST /v1/completions 400"]
    assert {record.module for record in caplog.records if record.name == "tinkex.serve"} == {"app"}
    assert "secret" not in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "sent",
    [
        b"a secret prompt\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a secret key\r\nHost: b\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nsecret",
    ],
)
def test_broken_requests(gateway, caplog, sent):
    """What is no HTTP gets a 4xx answer, and what the log says of it shows nothing of it."""
    caplog.set_level(logging.INFO)
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        assert connection.makefile("rb").readline().split()[1].startswith(b"4")
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text
    assert gateway.get("/health").status_code == 200


# --- Life


def test_life():
    """A gateway listens when start returns; when it is closed, requests under way finish, and the service goes on."""
    with FakeServer(latency=0.3) as server:
        service = make_service(server)
        gateway = Gateway(service, tokenizer=TOKENIZER)
        with pytest.raises(RuntimeError, match="not been started"):
            _ = gateway.url
        asking = Asking(server, service, gateway.start())
        assert gateway.start() is gateway
        asking.get(f"/v1/models/{MODEL}")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(asking.complete([1, 2])))
        thread.start()
        server.wait_for("asample")
        gateway.close()
        gateway.close()
        thread.join()
        assert answers[0].status_code == 200
        with pytest.raises(requests.ConnectionError):
            asking.get("/health")
        with pytest.raises(RuntimeError, match="closed"):
            gateway.start()
        assert service.health().ok
        with FakeServer() as other, pytest.raises(OSError):
            Gateway(service, port=int(other.url.rpartition(":")[2])).start()
        service.close()


@pytest.mark.parametrize("count", [50, pytest.param(2000, marks=pytest.mark.slow)])
def test_many_requests(count):
    """Two thousand requests wait at once, without a thread for each."""
    with serving(says("a"), record=False) as asking:
        asking.get(f"/v1/models/{MODEL}")
        asking.server.hold()

        async def ask(session):
            async with session.post("/v1/completions", json={"model": MODEL, "prompt": [1, 2]}) as response:
                return response.status

        async def ask_all():
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(asking.url, connector=connector) as session:
                tasks = [asyncio.create_task(ask(session)) for _ in range(count)]
                await asyncio.to_thread(asking.server.wait_for, "asample", count, 60.0)
                threads = threading.active_count()
                asking.server.release()
                return threads, await asyncio.gather(*tasks)

        threads, statuses = asyncio.run(ask_all())
    assert statuses == [200] * count
    assert threads < 60
