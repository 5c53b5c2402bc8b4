"""The plug-in for llm, in the program itself: what docs/plugins.rst says on the local model, tools on a fake server."""

from __future__ import annotations

import base64
import json
import re

import pytest
from gateways import MODEL, PICTURES, PNG, TOKENIZER, says, write_tokenizer
from tool_programs import page, run, run_section

import tinkex
from tinkex.testing import FakeServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]  # the first run installs the program
cache_dir = pytest.importorskip("tinkex.local").cache_dir

SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"
QUESTIONS = ["Where is the Eiffel Tower?", "And the Colosseum?"]


@pytest.fixture(scope="module")
def service():
    """The local model."""
    with tinkex.ServiceClient.local() as running:
        yield running


@pytest.fixture
def known(installed_tinkex, tmp_path):
    """The environment of llm, for a server's URL."""
    return lambda url: {
        "PYTHONPATH": str(installed_tinkex),
        "LLM_USER_PATH": str(tmp_path),
        "TINKER_BASE_URL": url,
        "TINKER_API_KEY": "tml-test",
        "TINKEX_CACHE_DIR": str(cache_dir()),
    }


def logged(folder, programs, environ):
    """What llm has logged, the newest last."""
    return json.loads(run(["llm", "logs", "-n", "0", "--json"], folder, programs=programs, **environ))


def test_page(service, programs, known, tmp_path):
    """Llm prints what tinkex samples, goes on with a conversation, and its log has the same tokens and numbers."""
    llm, environ = programs("llm"), known(service.config.base_url)
    printed = run_section(page("plugins"), "llm", tmp_path, programs=llm, **environ)
    client = service.create_sampling_client(base_model=SMALL)
    chat = tinkex.chat.ChatFormat(client.get_tokenizer())
    messages, sampled = [], []
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        prompt = chat.prompt(messages)
        sequence = client.sample(prompt, chat.sampling_params(8, temperature=0)).result().sequences[0]
        sampled.append((prompt.to_ints(), sequence))
        messages.append(chat.parse(sequence).message)
    shown = [
        f"{token} {client.get_tokenizer().decode([token])!r} {logprob}"
        for token, logprob in zip(sampled[1][1].tokens, sampled[1][1].logprobs, strict=True)
    ]
    texts = [message["content"] for message in messages if message["role"] == "assistant"]
    assert printed.splitlines() == [f"tinkex: tinkex/{SMALL}", *texts, *shown, " Paris"]

    *rows, _ = logged(tmp_path, llm, environ)
    for row, (prompt, sequence) in zip(rows, sampled, strict=True):
        (choice,) = row["response_json"]["choices"]
        assert choice["token_ids"] == sequence.tokens
        assert row["response_json"]["prompt_token_ids"] == prompt
        assert [each["logprob"] for each in choice["logprobs"]["content"]] == sequence.logprobs
        assert (row["input_tokens"], row["output_tokens"]) == (len(prompt), len(sequence.tokens))


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call><|im_end|>'
PYTHON = """
import asyncio, llm
model = llm.get_async_model("tinkex/fake/model")
async def main():
    try:
        await model.prompt("Hi", tokenizer="words", temperature=-1.0)
    except llm.ModelError as error:
        print(error)
    print(await model.prompt("Hi", tokenizer="words").text())
asyncio.run(main())
"""


def answers(request):
    """Call a tool, and say what it gave."""
    text = TOKENIZER.decode(request.prompt.to_ints())
    found = re.search(r"<\|im_start\|>tool\n(.+?)<", text)
    if found:
        return says(f"<think>\nEasy.\n</think>\n\nIt is {found[1]}.<|im_end|>")(request)
    return says(CALL if "Tools:" in text else "Hello.<|im_end|>")(request)


def test_tools_and_errors(programs, known, tmp_path):
    """Tools are called, thinking is kept apart, errors say what to do; names that are not listed are found again."""
    llm = programs("llm")
    write_tokenizer(tmp_path / "words")
    with FakeServer(answers=answers, models=[MODEL]) as server:
        environ = known(server.url)
        ask = ["llm", "-m", f"tinkex/{MODEL}", "-o", "tokenizer", "words"]
        add = ["--functions", "def add(a: int, b: int) -> int:\n    return a + b"]
        printed = run([*ask, *add, "What is 1 + 2?"], tmp_path, programs=llm, **environ)
        assert printed.strip() == "It is 3."
        assert logged(tmp_path, llm, environ)[-1]["reasoning"] == "Easy."
        assert run(["llm", "-c", "-o", "tokenizer", "words", "Hi"], tmp_path, programs=llm, **environ)

        wrong = [*ask, "-o", "top_p", "7", "Hi"]
        assert "top_p must be" in run(wrong, tmp_path, programs=llm, fails=True, **environ)
        server.fail_next("asample", status=403, body={"detail": "not your model"})
        assert "not your model" in run([*ask, "Hi"], tmp_path, programs=llm, fails=True, **environ)
        printed = run(["python", "-c", PYTHON], tmp_path, programs=llm, **environ)
        refused, said = printed.splitlines()
        assert refused.startswith("temperature must be")
        assert said == "Hello."

        chat = ["bash", "-c", f"printf 'Hi\\nquit\\n' | llm chat -m 'tinkex/{MODEL}' -o tokenizer words"]
        assert "> Hello." in run(chat, tmp_path, programs=llm, **environ)
        run([*ask, "--key", "tml-other", "Hi"], tmp_path, programs=llm, **environ)
        assert server.requests_to("asample")[-1].key == "tml-other"


def test_picture(programs, known, tmp_path):
    """A picture is sent as a chunk of the prompt."""
    write_tokenizer(tmp_path / "words", PICTURES)
    (tmp_path / "dot.png").write_bytes(base64.b64decode(PNG))
    said = tinkex.SampledSequence(TOKENIZER.encode("A dot."), [-0.5] * 6, None, "length")
    with FakeServer(answers=lambda _: tinkex.SampleResponse([said]), models=[MODEL]) as server:
        ask = ["llm", "-m", f"tinkex/{MODEL}", "-o", "tokenizer", "words", "-a", "dot.png", "Hm?"]
        assert run(ask, tmp_path, programs=programs("llm"), **known(server.url)).strip() == "A dot."
        chunks = json.loads(server.requests_to("asample")[0].body)["prompt"]["chunks"]
    assert [chunk["type"] for chunk in chunks] == ["encoded_text", "image", "encoded_text"]
    assert chunks[1]["data"] == PNG


LOADED = """
import llm.cli, sys
before = set(sys.modules)
import importlib
importlib.import_module("tinkex.plugins.llm")
print(*sorted(set(sys.modules) - before))
"""


def test_start_is_light(programs, known, tmp_path):
    """`llm` loads four small modules of tinkex when it starts, and nothing else for them; no server is asked."""
    environ = {**known("http://127.0.0.1:9"), "LLM_LOAD_PLUGINS": ""}
    printed = run(["python", "-c", LOADED], tmp_path, programs=programs("llm"), **environ)
    assert printed.split() == ["tinkex", "tinkex._identity", "tinkex.plugins", "tinkex.plugins.llm"]
