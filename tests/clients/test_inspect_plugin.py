"""The plug-in for inspect-ai, in the program itself: the page's command on the local model, more on a fake server."""

from __future__ import annotations

import json
import re

import pytest
from gateways import MODEL, PICTURES, PNG, TOKENIZER, says, write_tokenizer
from tool_programs import inspect_log, page, run, run_section, write_inspect_task

import tinkex
from tinkex.testing import FakeServer, expected_logprobs

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]  # the first run installs the program
cache_dir = pytest.importorskip("tinkex.local").cache_dir

SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def known(installed_tinkex):
    """The environment of inspect-ai, for a server's URL."""
    return lambda url: {
        "PYTHONPATH": str(installed_tinkex),
        "TINKER_BASE_URL": url,
        "TINKER_API_KEY": "tml-test",
        "TINKEX_CACHE_DIR": str(cache_dir()),
    }


def test_page(programs, known, tmp_path):
    """The log has the model's answers, with the tokens and the log-probabilities that tinkex has."""
    write_inspect_task(tmp_path)
    inspect = programs("inspect")
    with tinkex.ServiceClient.local() as service:
        environ = known(service.config.base_url)
        run_section(page("plugins"), "inspect-ai", tmp_path, programs=inspect, **environ)
        log = inspect_log(tmp_path, inspect)
        assert len(log["samples"]) == 5
        client = service.create_sampling_client(base_model=SMALL)
        chat = tinkex.chat.ChatFormat(client.get_tokenizer())
        for sample in log["samples"]:
            prompt = chat.prompt([{"role": "user", "content": sample["input"]}])
            sequence = client.sample(prompt, chat.sampling_params(16, temperature=0)).result().sequences[0]
            output = sample["output"]
            (choice,) = output["choices"]
            assert choice["message"]["content"] == chat.parse(sequence).content
            assert [token["logprob"] for token in choice["logprobs"]["content"]] == sequence.logprobs
            assert output["metadata"] == {
                "prompt_token_ids": prompt.to_ints(), "token_ids": [sequence.tokens], "logprobs": [sequence.logprobs],
            }  # fmt: skip


TOOLS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import tool

@tool
def add():
    async def execute(a: int, b: int):
        '''Add two numbers.

        Args:
            a: One of them.
            b: The other.
        '''
        return a + b
    return execute

@task
def sums():
    dataset = [Sample("What is 1 + 2?", target="3")]
    return Task(dataset=dataset, solver=[use_tools(add()), generate()], scorer=includes())
"""
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call><|im_end|>'


def answers(request):
    """Think, call a tool, and say what it gave."""
    text = TOKENIZER.decode(request.prompt.to_ints())
    found = re.search(r"<\|im_start\|>tool\n(.+?)<", text)
    if found:
        return says(f"<think>\nEasy.\n</think>\n\nIt is {found[1]}.<|im_end|>")(request)
    return says(f"<think>\nAdd.\n</think>\n\n{CALL}" if "Tools:" in text else "Hello.<|im_end|>")(request)


def test_tools(programs, known, tmp_path):
    """Tools are called, thinking is kept, and goes back to the model with what the tool gave."""
    (tmp_path / "sums.py").write_text(TOOLS)
    write_tokenizer(tmp_path / "words")
    with FakeServer(answers=answers, models=[MODEL]) as server:
        command = ["inspect", "eval", "sums.py", "--model", f"tinkex/{MODEL}", "-M", "tokenizer=words"]
        run([*command, "--display", "plain"], tmp_path, programs=programs("inspect"), **known(server.url))
        (sample,) = inspect_log(tmp_path, programs("inspect"))["samples"]
    _, called, given, said = sample["messages"]
    assert called["content"][0]["reasoning"] == "Add."
    assert called["tool_calls"][0]["arguments"] == {"a": 1, "b": 2}
    assert given["content"] == "3"
    assert [part.get("reasoning") or part["text"] for part in said["content"]] == ["Easy.", "It is 3."]
    assert sample["output"]["choices"][0]["stop_reason"] == "stop"
    prompt = TOKENIZER.decode(sample["output"]["metadata"]["prompt_token_ids"])
    assert "<think>\nAdd.\n</think>" in prompt
    assert prompt.endswith("<|im_start|>tool\n3<|im_end|>\n<|im_start|>assistant\n")


SCRIPT = """
import asyncio, json
from inspect_ai.model import ChatMessageUser, ContentAudio, GenerateConfig, get_model
import tinkex

SOUND = ContentAudio(audio="data:audio/wav;base64,AAAA", format="wav")

async def failed(model, text="Hi", **options):
    try:
        await model.generate(text, config=GenerateConfig(**options))
    except Exception as error:
        return str(error)

async def main():
    model = get_model("tinkex/fake/model", tokenizer="words")
    refused = tinkex.APIConnectionError("refused")
    early = bool(model.api.should_retry(refused))
    output = await model.generate("Hi", config=GenerateConfig(
        num_choices=2, logprobs=True, top_logprobs=2, prompt_logprobs=2, stop_seqs=["lo"], max_tokens=9,
    ))
    first = output.choices[0]
    overflow = await model.generate("x" * 40_000)
    told = [
        [len(output.choices), first.message.text, first.stop_reason],
        first.logprobs.model_dump(), first.prompt_logprobs.content[0].model_dump(),
        [(await model.generate("long", config=GenerateConfig(max_tokens=most))).stop_reason for most in (None, 3)],
        [overflow.stop_reason, overflow.error],
        [early, *(bool(model.api.should_retry(error)) for error in (
            refused, tinkex.RateLimitError("", 429), tinkex.InternalServerError("", 500),
            tinkex.QueueFullError("", 1.0), tinkex.AuthenticationError("", 401), tinkex.BadRequestError("", 400),
            ValueError("top_p"),
        ))],
        model.api.should_retry(tinkex.RateLimitError("", 429, retry_after=7.0)).retry_after,
        [await failed(model, **wrong) for wrong in ({"temperature": -1.0}, {"frequency_penalty": 1.0}, {"best_of": 3})],
        await failed(model, [ChatMessageUser(content=[SOUND])]),
        [await model.api.tokenize("Hi"), await model.api.count_text_tokens("Hi"), model.api.max_connections()],
        await failed(get_model("tinkex/other", tokenizer="words")),
        await failed(model, "forbidden"),
    ]
    print(json.dumps(told))

asyncio.run(main())
"""
PICTURE = """
import asyncio, sys
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, get_model
model = get_model("tinkex/fake/model", tokenizer="words")
parts = [ContentText(text="Hm?"), ContentImage(image="data:image/png;base64," + sys.argv[1])]
output = asyncio.run(model.generate([ChatMessageUser(content=parts)]))
print(output.completion, output.metadata["prompt_token_ids"])
"""
TRIO = """
import anyio
from inspect_ai.model import get_model
anyio.run(get_model("tinkex/fake/model", tokenizer="words").generate, "Hi", backend="trio")
"""


def test_picture(programs, known, tmp_path):
    """A picture is sent as a chunk of the prompt, which then has no token ids."""
    write_tokenizer(tmp_path / "words", PICTURES)
    said = tinkex.SampledSequence(TOKENIZER.encode("A dot."), [-0.5] * 6, None, "length")
    with FakeServer(answers=lambda _: tinkex.SampleResponse([said]), models=[MODEL]) as server:
        environ = known(server.url)
        printed = run(["python", "-c", PICTURE, PNG], tmp_path, programs=programs("inspect"), **environ)
        chunks = json.loads(server.requests_to("asample")[0].body)["prompt"]["chunks"]
    assert printed.split("\n")[0] == "A dot. None"
    assert [chunk["type"] for chunk in chunks] == ["encoded_text", "image", "encoded_text"]
    assert chunks[1]["data"] == PNG


def test_answers_and_errors(programs, known, tmp_path):
    """Choices, scores, stop reasons and usage are the gateway's; what cannot be mended is not tried again."""
    write_tokenizer(tmp_path / "words")

    def answer(request):
        text = TOKENIZER.decode(request.prompt.to_ints())
        if "forbidden" in text:
            raise tinkex.testing.EngineError("not this", category="user")
        found = says("x" * 40_000, stop_reason="length") if "long" in text else says("Hello.<|im_end|>")
        return found(request)

    with FakeServer(answers=answer, models=[MODEL]) as server:
        environ = known(server.url)
        inspect = programs("inspect")
        told = json.loads(run(["python", "-c", SCRIPT], tmp_path, programs=inspect, **environ))
        sampled = server.counts["asample"]
        trio = run(["python", "-c", TRIO], tmp_path, programs=inspect, fails=True, **environ)
    shown, scored, prompted, reasons, overflow, retried, wait, wrong, audio, counted, other, forbidden = told
    assert shown == [2, "Hel", "stop"]
    tokens = TOKENIZER.encode("Hello.<|im_end|>")
    assert [token["logprob"] for token in scored["content"]] == expected_logprobs(tokens)
    assert all(len(token["top_logprobs"]) == 2 for token in scored["content"])
    assert len(prompted["top_logprobs"]) == 2
    assert reasons == ["model_length", "max_tokens"]
    assert overflow[0] == "model_length"
    assert "maximum context length is 32768 tokens" in overflow[1]
    assert retried == [False, True, True, True, True, False, False, False]
    assert wait == 7.0
    assert [text.split()[0] for text in wrong] == ["temperature", "frequency_penalty", "best_of"]
    assert "content of the type audio is not offered" in audio
    assert counted == [TOKENIZER.encode("Hi"), 2, 1000]
    assert "'other' does not exist" in other
    assert "not this" in forbidden
    assert sampled == 4  # each once: what is refused is not tried again
    assert "tinkex needs asyncio" in trio
