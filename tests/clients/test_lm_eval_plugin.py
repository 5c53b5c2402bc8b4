"""lm-eval with tinkex as its model: what docs/plugins.rst says on the local model, what is sent on a fake server."""

from __future__ import annotations

import json
import subprocess
import threading

import pytest
from gateways import MODEL, TOKENIZER, says, write_tokenizer
from lm_eval_tasks import ROWS, logged_samples, write_tasks
from serving import until
from tool_programs import page, run, run_section

import tinkex
from tinkex.serve import Gateway
from tinkex.testing import FakeServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]  # the first run installs the program
cache_dir = pytest.importorskip("tinkex.local").cache_dir

SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"
TASKS = ("capitals", "capitals_written", "capitals_read")
GATEWAY = (
    "lm_eval --model local-completions --tasks capitals,capitals_written,capitals_read --include_path tasks"
    " --model_args model={model},base_url={url}/v1/completions,tokenizer_backend=remote --output_path gateway"
    " --log_samples"
)
CHAT = (
    "python -m tinkex.lm_eval --tasks capitals_written --include_path tasks --model_args model={model}"
    " --apply_chat_template --output_path chat --log_samples"
)


@pytest.fixture(scope="module")
def service():
    """The local model."""
    with tinkex.ServiceClient.local() as running:
        yield running


@pytest.fixture
def known(installed_tinkex):
    """The environment of lm-eval, for a server's URL."""
    return lambda url: {
        "PYTHONPATH": str(installed_tinkex),
        "TINKER_BASE_URL": url,
        "TINKER_API_KEY": "tml-test",
        "TINKEX_CACHE_DIR": str(cache_dir()),
    }


def test_page(service, programs, known, tmp_path):
    """Scores, perplexities and answers are those of the gateway to the last digit, and those of `compute_logprobs`."""
    write_tasks(tmp_path / "tasks")
    lm_eval, environ = programs("lm-eval"), known(service.config.base_url)
    printed = run_section(page("plugins"), "lm-eval", tmp_path, programs=lm_eval, **environ)
    assert printed.splitlines()[-1] == "1.0"
    with Gateway(service) as gateway:
        script = GATEWAY.format(model=SMALL, url=gateway.url)
        run(["bash", "-c", script], tmp_path, programs=lm_eval, **environ)
    for task in TASKS:
        ours, theirs = (logged_samples(tmp_path / folder, task) for folder in ("results", "gateway"))
        assert len(ours) == len(ROWS)
        assert [each["resps"] for each in ours] == [each["resps"] for each in theirs]

    client = service.create_sampling_client(base_model=SMALL)
    tokenizer = client.get_tokenizer()
    bos = tokenizer.encode("<|im_start|>")
    for sample in logged_samples(tmp_path / "results", "capitals_read"):
        text = "The capital of {country} is {city}.".format(**sample["doc"])
        scores = client.compute_logprobs([*bos, *tokenizer.encode(text)]).result()
        assert float(sample["resps"][0][0]) == pytest.approx(sum(scores[1:]), abs=1e-9)
    for sample in logged_samples(tmp_path / "results", "capitals"):
        context = tokenizer.encode("The capital of {country} is".format(**sample["doc"]))
        for (reply,), choice in zip(sample["resps"], sample["doc"]["choices"], strict=True):
            scores = client.compute_logprobs([*context, *tokenizer.encode(f" {choice}")]).result()
            assert float(reply[0]) == pytest.approx(sum(scores[len(context) :]), abs=1e-9)


def test_chat(service, programs, known, tmp_path):
    """With a chat template prompts are in the model's chat format, and answers are those of a chat."""
    write_tasks(tmp_path / "tasks")
    script = CHAT.format(model=SMALL)
    run(["bash", "-c", script], tmp_path, programs=programs("lm-eval"), **known(service.config.base_url))
    client = service.create_sampling_client(base_model=SMALL)
    tokenizer = client.get_tokenizer()
    for sample in logged_samples(tmp_path / "chat", "capitals_written"):
        asked = [{"role": "user", "content": "The capital of {country} is".format(**sample["doc"])}]
        prompt = tinkex.ModelInput.from_messages(asked, tokenizer)
        assert tokenizer.encode(sample["arguments"]["gen_args_0"]["arg_0"]) == prompt.to_ints()
        params = tinkex.SamplingParams(max_tokens=6, temperature=0, stop=[".", "\n", "<|im_end|>"])
        text = client.sample(prompt, params).result().sequences[0].text(tokenizer, skip_special_tokens=True)
        assert sample["resps"][0][0] == text.split(".")[0].split("\n")[0]


def scored_at_the_end(response, count):
    """The response with the scores of the last tokens of the prompt alone."""
    if count is None:
        return response
    plain = response.to_dict()
    for name in ("prompt_logprobs", "topk_prompt_logprobs"):
        plain[name] = [None] * (len(plain[name]) - count) + plain[name][-count:]
    return tinkex.SampleResponse.from_dict(plain)


LINES = [
    "run --model tinkex --tasks a",
    "run --model tinkex --tasks a",
    "run --model=hf --tasks a",
    "run -C x.yaml",
    "ls tasks",
    "run",
    "run",
]
MANY = """
import json, sys
from lm_eval.api.instance import Instance
from tinkex.lm_eval import TinkexLM
from tinkex.lm_eval.__main__ import with_model

for line in ("--tasks a", "run --tasks a", "--model=hf --tasks a", "run -C x.yaml", "ls tasks", "run", ""):
    print(*with_model(line.split()))

def asked(kind, arguments):
    return [Instance(kind, {}, each, place) for place, each in enumerate(arguments)]

model = TinkexLM("fake/model", tokenizer="words", num_concurrent=1500)
found = model.loglikelihood(asked("loglikelihood", [("Hi", "x" * (1 + n % 3)) for n in range(1500)]))
print(json.dumps(found))
print(json.dumps(model.generate_until(asked("generate_until", [("Hi", {"until": ["."]}), ("Hi", {"until": []})]))))
model = TinkexLM("fake/model", tokenizer="words", max_length=9, prompt_logprobs_last_n=False)
print(json.dumps(model.loglikelihood(asked("loglikelihood", [("", "Hi"), ("0123456789", "ab"), ("Hi", "")]))))
print(json.dumps(model.loglikelihood_rolling(asked("loglikelihood_rolling", [("0123456789",), ("",)]))))
try:
    TinkexLM("fake/model", max_length=2)
except ValueError as error:
    print(error)
for wrong in ({"foo": 1}, {"max_gen_toks": 99}, {"temperature": -1.0, "max_gen_toks": 4}):
    try:
        model.generate_until(asked("generate_until", [("Hi", wrong)]))
    except ValueError as error:
        print(error)
"""


def test_what_is_sent(programs, known, tmp_path):
    """All are in flight together, only the scores of continuations travel, prompts fit, and what is wrong is named."""
    free = threading.Event()

    def answer(request):
        free.wait(300)
        return scored_at_the_end(says("Yes. No.<|endoftext|>more")(request), request.prompt_logprobs_last_n)

    write_tokenizer(tmp_path / "words")
    environ = known("")
    with FakeServer(answers=answer, models=[MODEL]) as server:
        environ["TINKER_BASE_URL"] = server.url
        environ["PATH"] = str(programs("lm-eval"))
        with subprocess.Popen(
            [programs("lm-eval") / "python", "-c", MANY], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
        ) as running:
            until(lambda: server.counts["asample"] == 1500, 120)
            free.set()
            printed, _ = running.communicate(timeout=300)
        assert running.returncode == 0
        bodies = [json.loads(request.body) for request in server.requests_to("asample")]
    lengths = [1 + n % 3 for n in range(1500)]
    assert sorted(body["prompt_logprobs_last_n"] for body in bodies[:1500]) == sorted(lengths)
    assert {body["topk_prompt_logprobs"] for body in bodies[:1500]} == {1}
    printed = printed.splitlines()
    lines, (many, texts, fitted, rolling, *errors) = printed[: len(LINES)], printed[len(LINES) :]
    assert len(json.loads(many)) == 1500
    assert all(greedy for _, greedy in json.loads(many))
    assert json.loads(texts) == ["Yes", "Yes. No."]

    prompts = [body["prompt"]["chunks"][0]["tokens"] for body in bodies[1502:]]
    end = "<|endoftext|>"
    assert {TOKENIZER.decode(each) for each in prompts} == {f"{end}Hi", "456789ab", f"{end}0123456", "23456789"}
    assert json.loads(fitted)[2] == [0.0, True]
    assert json.loads(rolling)[1] == 0
    assert {body.get("prompt_logprobs_last_n") for body in bodies[1502:]} == {None}
    length, foo, room, temperature = errors
    assert lines == LINES
    assert length == "max_length must be at least 3, not 2"
    assert foo == "gen_kwargs: foo is not offered"
    assert room.startswith("max_gen_toks: 99 leaves no room")
    assert temperature.startswith("temperature must be")
