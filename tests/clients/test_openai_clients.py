"""Programs of others that speak OpenAI's API, unmodified, on a gateway over the local model: what docs/serve.rst says.

Each has an environment of its own in ``$TINKEX_TEST_CACHE``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap

import pytest
from lm_eval_tasks import logged_samples, write_tasks
from tool_programs import ROOT, inspect_log, page, run_section, write_inspect_task

import tinkex
from tinkex.serve import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]  # the first run installs them
pytest.importorskip("tinkex.local")

PAGE = page("serve")
README = (ROOT / "README.rst").read_text(encoding="utf-8")
QUESTION = [{"role": "user", "content": "Where is the Eiffel Tower?"}]


@pytest.fixture(scope="module")
def service():
    """The local model."""
    with tinkex.ServiceClient.local() as running:
        yield running


@pytest.fixture(scope="module")
def client(service):
    """A sampling client beside the gateway."""
    return service.create_sampling_client(base_model=service.local_model)


@pytest.fixture(scope="module")
def url(service):
    """The gateway's address."""
    with Gateway(service) as gateway:
        yield gateway.url


@pytest.fixture(scope="module")
def said(client):
    """What the model says to the question, as tinkex samples it."""
    chat = tinkex.chat.ChatFormat(client.get_tokenizer())
    sequence = client.sample(chat.prompt(QUESTION), chat.sampling_params(8, temperature=0)).result().sequences[0]
    return chat.parse(sequence).content, sequence


def run(tool, url, folder_of_programs, folder, **variables):
    """Run the command that the page has for a tool; what it prints."""
    replacing = [("http://127.0.0.1:8000", url)]
    return run_section(PAGE, tool, folder, programs=folder_of_programs, replacing=replacing, **variables)


def test_curl(url, tmp_path):
    """The answer to curl has the likeliest token with its number."""
    choice = json.loads(run("curl", url, "/usr/bin", tmp_path))["choices"][0]
    assert choice["text"] == " Paris"
    assert choice["logprobs"]["token_logprobs"][0] == max(choice["logprobs"]["top_logprobs"][0].values())


def test_openai(url, programs, tmp_path, said):
    """OpenAI's client gets the model's answer, and the log-probabilities that tinkex has."""
    content, sequence = said
    printed = run("openai", url, programs("openai"), tmp_path).strip()
    text, _, logprob = printed.rpartition(" ")
    assert text == content
    assert float(logprob) == pytest.approx(sequence.logprobs[0], abs=1e-6)


OPENAI = """
import json, sys
import openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
model = client.models.retrieve("HuggingFaceTB/SmolLM2-135M-Instruct").id
messages = [{"role": "user", "content": "Where is the Eiffel Tower?"}]
options = dict(model=model, messages=messages, max_tokens=8, temperature=0)
with client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}) as stream:
    chunks = list(stream)
print("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
print(chunks[-1].usage.completion_tokens)
for wrong, kind in (
    ({"logit_bias": {"1": 5}}, openai.BadRequestError), ({"model": "gpt-9"}, openai.NotFoundError),
    ({"max_tokens": 100_000}, openai.BadRequestError),
):
    try:
        client.chat.completions.create(**{**options, **wrong})
    except kind as error:
        print(error.param, error.code)
completion = client.completions.create(model=model, prompt=[[504, 3575], [504]], max_tokens=0, echo=True, logprobs=1)
print(json.dumps([choice.logprobs.token_logprobs for choice in completion.choices]))
"""


def test_openai_streams_and_errors(url, programs, tmp_path, said, client):
    """OpenAI's client reads the stream, its usage, the errors with their fields, and the scores of prompts."""
    script = tmp_path / "script.py"
    script.write_text(OPENAI)
    command = [programs("openai") / "python", script, url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    *text, tokens, bias, model, long, scores = ended.stdout.splitlines()
    assert "\n".join(text) == said[0]
    assert int(tokens) == len(said[1].tokens)
    assert (bias, model) == ("logit_bias unsupported_parameter", "model model_not_found")
    assert long == "max_tokens context_length_exceeded"
    (first, second), (only,) = json.loads(scores)
    assert (first, only) == (None, None)
    assert second == pytest.approx(client.compute_logprobs([504, 3575]).result()[1], abs=1e-6)


def test_readme(programs):
    """The README's command serves the small model, and its lines of a client print what that says."""
    section = README.split("tinkex serve --local\n")[1]
    lines = textwrap.dedent(re.search(r"code-block:: python\n\n((?:(?:    .*)?\n)+)", section)[1])
    command = [sys.executable, "-c", "from tinkex.cli import main; main()", "serve", "--local", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as gateway:
        try:
            script = lines.replace("http://127.0.0.1:8000/v1", gateway.stdout.readline().strip())
            ended = subprocess.run(
                [programs("openai") / "python", "-c", script], capture_output=True, text=True, timeout=300, check=False
            )
        finally:
            gateway.terminate()
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()


def test_lm_eval(url, programs, tmp_path, client):
    """Scores in lm-eval are those of `compute_logprobs`, greedy is what top-k says, and texts are the same."""
    write_tasks(tmp_path / "tasks")
    run("lm-eval", url, programs("lm-eval"), tmp_path)
    tokenizer = client.get_tokenizer()

    scored = logged_samples(tmp_path / "results", "capitals")
    assert len(scored) == 5
    for sample in scored:
        context = f"The capital of {sample['doc']['country']} is"
        for (reply,), choice in zip(sample["resps"], sample["doc"]["choices"], strict=True):
            before, ids = tokenizer.encode(context), tokenizer.encode(f"{context} {choice}")
            params = tinkex.SamplingParams(max_tokens=1)
            likeliest = client.sample(ids, params, topk_prompt_logprobs=1).result().topk_prompt_logprobs
            logprobs = client.compute_logprobs(ids).result()
            assert float(reply[0]) == pytest.approx(sum(logprobs[len(before) :]), abs=1e-6)
            greedy = all(likeliest[at][0][0] == ids[at] for at in range(len(before), len(ids)))
            assert str(reply[1]) == str(greedy)

    for sample in logged_samples(tmp_path / "results", "capitals_written"):
        context = tokenizer.encode(f"The capital of {sample['doc']['country']} is")
        params = tinkex.SamplingParams(max_tokens=6, temperature=0, stop=[".", "\n"])
        text = client.sample(context, params).result().sequences[0].text(tokenizer, skip_special_tokens=True)
        assert sample["resps"][0][0] == re.split(r"[.\n]", text)[0]


def test_llm(url, programs, tmp_path, said):
    """What llm prints, streaming, is the model's answer."""
    printed = run("llm", url, programs("llm"), tmp_path, LLM_USER_PATH=str(tmp_path))
    assert printed.strip() == said[0].strip()


def test_litellm(url, programs, tmp_path, said):
    """LiteLLM gives the model's answer."""
    printed = run("LiteLLM", url, programs("litellm"), tmp_path)
    assert printed.strip() == said[0].strip()


def test_langchain(url, programs, tmp_path, said):
    """LangChain gives the model's answer."""
    printed = run("LangChain", url, programs("langchain"), tmp_path)
    assert printed.strip() == said[0].strip()


def test_inspect(url, programs, tmp_path, client):
    """The log of inspect-ai has the model's answers, with the log-probabilities that tinkex has."""
    write_inspect_task(tmp_path)
    run("inspect-ai", url, programs("inspect"), tmp_path)
    samples = inspect_log(tmp_path, programs("inspect"))["samples"]
    assert len(samples) == 5
    chat = tinkex.chat.ChatFormat(client.get_tokenizer())
    for sample in samples:
        prompt = chat.prompt([{"role": "user", "content": sample["input"]}])
        sequence = client.sample(prompt, chat.sampling_params(16, temperature=0)).result().sequences[0]
        (choice,) = sample["output"]["choices"]
        assert choice["message"]["content"] == chat.parse(sequence).content
        numbers = [token["logprob"] for token in choice["logprobs"]["content"]]
        assert numbers == pytest.approx(sequence.logprobs, abs=1e-5)
