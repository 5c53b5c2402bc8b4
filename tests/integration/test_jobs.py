"""The programs of docs/cookbook.rst, as they stand, on a fake server: each on the page has its test here."""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
import re
import runpy
import statistics
import sys
import time

import pytest

import tinkex
from tinkex.testing import EngineError, FakeServer, ToyTokenizer, default_answer, expected_logprobs

pytest.importorskip("jinja2")

DOCS = pathlib.Path(__file__).parents[2] / "docs"
RECIPES = DOCS / "recipes"
SHOWN = re.findall(r"literalinclude:: recipes/(\w+)\.py", (DOCS / "cookbook.rst").read_text(encoding="utf-8"))
TOKENIZER = ToyTokenizer()


def test_the_page():
    """The cookbook has ten jobs or more, each of them once, in under forty lines, and with a test of its own here."""
    assert len(SHOWN) == len(set(SHOWN)) >= 10
    assert [name for name in SHOWN if f"test_{name}" not in globals()] == []
    lengths = {name: len((RECIPES / f"{name}.py").read_text(encoding="utf-8").splitlines()) for name in SHOWN}
    assert {name: lines for name, lines in lengths.items() if lines >= 40} == {}


class SmallModel:
    """What stands for the small local model: the fake server, by the model's name."""

    base_model = "HuggingFaceTB/SmolLM2-135M-Instruct"

    def get_tokenizer(self):
        """The toy."""
        return TOKENIZER

    def close(self):
        """The test stops the server."""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a program in an empty folder, against a server whose model answers in this way, in place of its own.

    Returns the lines that it prints, and the names that it has made; `then` is called with these while the server runs.
    """
    monkeypatch.chdir(tmp_path)

    def run(name, answers, *arguments, then=None, **options):
        services = []

        def local():
            services.append(tinkex.ServiceClient.direct(server.url))
            services[0]._reference.keeps = SmallModel()
            return services[0]

        with FakeServer(answers=answers, **options) as server:
            monkeypatch.setattr(tinkex.ServiceClient, "local", local)
            monkeypatch.setattr(tinkex.testing, "FakeServer", lambda **_: contextlib.nullcontext(server))
            monkeypatch.setattr(sys, "argv", [name, *arguments])
            made = runpy.run_path(str(RECIPES / f"{name}.py"), run_name="__main__")
            if then is not None:
                then(made)
            for service in services:
                service.close()
        return capsys.readouterr().out.splitlines(), made

    return run


def write(path, rows):
    """Write rows as JSON lines, in the folder that the program runs in."""
    pathlib.Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path):
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]


def text_of(request):
    """What a sample is asked for, as text."""
    return TOKENIZER.decode(request.prompt.to_ints())


def prefers(word):
    """A model that finds every token unlikely, but for those of a word."""

    def answers(request):
        response = default_answer(request)
        liked = set(TOKENIZER.encode(word))
        scores = [None if each is None else -4.0 for each in response.prompt_logprobs]
        for at, token in enumerate(request.prompt.to_ints()):
            if scores[at] is not None and token in liked:
                scores[at] = -0.5
        return tinkex.SampleResponse(response.sequences, scores)

    return answers


def believes(share):
    """A model that gives what a prompt ends with the probability that a function says, for the text of the prompt."""

    def answers(request):
        response = default_answer(request)
        scores = [None if each is None else 0.0 for each in response.prompt_logprobs]
        return tinkex.SampleResponse(response.sequences, [*scores[:-1], math.log(share(text_of(request)))])

    return answers


def mean_logprob(text):
    """The mean that the fake server gives the tokens of an answer."""
    return statistics.fmean(expected_logprobs([*TOKENIZER.encode(text), ToyTokenizer.end_token]))


def test_chat_data(run):
    """Each prompt becomes a conversation with its answer, once; those that were cut off are left out."""
    prompts = [{"prompt": text} for text in ("Why?", "How?", "At length, please.", "Why?")]
    sent = []

    def answers(request):
        sent.append(request)
        return "Well. " * 99 if "length" in text_of(request) else "Fine."

    write("prompts.jsonl", prompts)
    for _ in range(2):  # again, nothing is left to do
        printed, _ = run("chat_data", answers, "prompts.jsonl", "chats.jsonl")
        assert printed == ["2 conversations of 4 prompts; those that were cut off are left out"]
        chats = [chat["messages"] for chat in read("chats.jsonl")]
        assert [[message["content"] for message in chat] for chat in chats] == [
            ["Answer in one sentence.", text, "Fine."] for text in ("Why?", "How?")
        ]
        assert chats[0][-1]["role"] == "assistant"
        assert len([request for request in sent if not request.include_prompt_logprobs]) == 3


def test_json_answers(run):
    """What is no JSON goes back with the error, and what never is becomes nothing."""

    def answers(request):
        text = text_of(request)
        if "Maria" in text:
            return '{"name": "Maria"}' if "KeyError" not in text else '{"name": "Maria", "city": "Rome"}'
        return "I cannot." if "Jan" in text else '{"name": "Tom", "city": "Paris", "age": 7}'

    printed, _ = run("json_answers", answers)
    assert printed == ['{"name": "Tom", "city": "Paris"}', '{"name": "Maria", "city": "Rome"}', "null"]


def test_retry_failures(run, monkeypatch):
    """Failures that may pass are tried again after a while, and nothing else is; the others are named at the end."""
    failures, waits = [EngineError("out of luck", 500, "server")], []

    def answers(request):
        if "Grass" in text_of(request) and failures:
            raise failures.pop()
        return "Green."

    monkeypatch.setattr(time, "sleep", waits.append)
    rows = [{"id": "grass", "prompt": "Grass is"}, {"id": "snow", "prompt": "Snow is", "temperature": -1}]
    printed, _ = run(
        "retry_failures", answers, write("in.jsonl", [*rows, {"id": "sky", "prompt": "It is"}]), "out.jsonl"
    )
    assert printed == [
        "1 done, 2 failed, 0 there before",
        "1 done, 1 failed, 1 there before",
        "snow: ValueError: temperature must be at least 0, got -1.0",
    ]
    assert waits == [1]


@pytest.mark.slow
def test_budget(run):
    """Each run ends soon after its money is spent, none before; together they finish the file."""
    write("in.jsonl", [{"id": f"row {number}", "prompt": "One two three"} for number in range(25)])
    said, counted = [], 0
    for _ in range(6):
        counts, end = run("budget", "Four five six seven. " * 9, "in.jsonl", "out.jsonl")[0]
        done, before, spent = re.fullmatch(r"(\d+) done, (\d+) there before, (\d\.\d{6}) spent", counts).groups()
        assert int(before) == counted
        counted += int(done)
        said.append(end)
        if end == "all done":
            break
        assert 0.0001 <= float(spent) < 0.0003
    assert said == ["stopped by the budget"] * (len(said) - 1) + ["all done"]
    assert len(said) > 1
    assert counted == 25


@pytest.mark.slow  # for what it imports
def test_data_frames(run):
    """Pandas tells the means of each group, Polars the likeliest of four answers to each prompt."""
    for name in ("pandas", "polars", "pyarrow"):
        pytest.importorskip(name)
    texts = [" One.", " Two.", " Six.", " Ten."]
    printed, made = run("data_frames", lambda request: texts[: request.num_samples])
    assert [line.split()[0] for line in printed[2:4]] == ["Asia", "Europe"]
    countries = sorted(country for each in made["CITIES"].values() for country in each)
    best = max(texts, key=mean_logprob)
    assert [
        (country, text) for country, text, _ in made["best"].sort("id").select("id", "text", "mean_logprob").rows()
    ] == [(country, best) for country in countries]
    assert [line.split(",")[0] for line in printed[4:]] == [f"('{country}'" for country in countries]


@pytest.mark.slow  # for what it imports
def test_compare_models(run):
    """Both models answer every prompt, and the page of their answers is made."""
    pytest.importorskip("altair")
    texts = {"model/one": "Yes.", "model/two": "No, not at all."}
    printed, _ = run("compare_models", texts)
    assert printed == [
        f"{name}: 3 answers of {len(TOKENIZER.encode(text)) + 1} tokens, {mean_logprob(text):.2f} per token"
        for name, text in texts.items()
    ]
    page = pathlib.Path("both.html").read_text(encoding="utf-8")
    assert "<title>model/one and model/two" in page
    assert page.count("model/two") > 3


def test_best_of(run):
    """The likeliest answer is so by its own mean, the best by what the judge says of it."""
    texts = [f"Since {word}." for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
    judge = believes(lambda text: 0.9 if ("three" in text) == text.endswith("Yes") else 0.1)
    printed, _ = run("best_of", lambda request: judge(request) if request.include_prompt_logprobs else texts)
    likeliest = max(texts, key=mean_logprob)
    assert printed == [f"likeliest: {mean_logprob(likeliest):.2f} '{likeliest}'", "judged best: 0.90 'Since three.'"]
    assert likeliest != "Since three."


def test_vote(run):
    """The number that most samples end with wins, also where it is wrong."""

    def answers(request):
        right, wrong = ("7", "5") if "Tom" in text_of(request).rpartition("Q:")[2] else ("6", "4")
        return [f" He has 3 + 4 = {right}. The answer is {right}.\n\nQ:"] * 10 + [f" Oh {wrong}\n"] * 5 + ["None"]

    printed, _ = run("vote", answers)
    assert printed == [
        "Tom has 4 pens and finds 3 more. How many has he? right [('7', 10), ('5', 5)]",
        "Eve has 6 birds and gets 2 more. How many has she? wrong [('6', 10), ('4', 5)]",
        "Max has 9 books and sells 4. How many has he? wrong [('6', 10), ('4', 5)]",
    ]


def test_first_good(run):
    """The first answer that will do ends it; the fifteen that are under way are cancelled."""

    def latency(request, _):
        return 0.0 if request.sampling_params.seed == 5 else 60.0

    printed, made = run("first_good", "The sea is wide.", latency=latency)
    assert printed == ["1: 4 words: 'The sea is wide.'", "15 cancelled"]
    assert sum(future.cancelled() for future in made["futures"]) == 15


def test_shared_prefix(run):
    """Every question is answered, and it says how much of its prompt the server had."""
    printed, made = run("shared_prefix", lambda request: "At nine." if "open?" in text_of(request) else "No.")
    lengths = [answer.prompt.length for answer in made["answers"]]
    assert min(lengths) > 200
    assert printed == [
        f"{length // 2} of {length} tokens from the cache: {question} {text!r}"
        for length, question, text in zip(lengths, made["QUESTIONS"], ["At nine.", "No.", "No.", "No."], strict=True)
    ]


def judging(favourite):
    """Two models, of which the first says Good and the second Bad, and a judge that has a favourite."""
    said = iter(["Good."] * 3 + ["Bad."] * 3)

    def answers(request):
        if not request.include_prompt_logprobs:
            return next(said)
        return prefers(favourite(text_of(request)))(request)

    return answers


@pytest.mark.parametrize(
    ("favourite", "told"),
    [
        (lambda text: "A", "50%"),
        (lambda text: "A" if "Answer A: Good" in text else "B", "97%"),
        (lambda text: "B" if "Answer A: Good" in text else "A", "3%"),
    ],
)
def test_judge(run, favourite, told):
    """A judge that prefers a place prefers neither model; one with a taste prefers the model that meets it."""
    printed, _ = run("judge", judging(favourite))
    assert printed == [f"model/one is preferred to model/two with {told}"]


def test_choices(run):
    """Every question is scored, by all three numbers."""
    rows = [{"question": f"{n}?", "choices": ["no", "yes", "perhaps"], "answer": n % 2} for n in range(8)]
    printed, _ = run("choices", prefers(" yes"), write("q.jsonl", rows))
    assert printed == [f"{by}: 4 of 8 right" for by in ("best", "best_by_mean", "best_by_byte")]


def test_classify(run):
    """A model that likes one label too much is right when its liking is taken out."""
    good = re.compile("best film|laughed|Great actors")

    def positive(text):
        review = text.rpartition("Review: ")[2].partition("\n")[0]
        return 0.9 if good.search(review) else 0.6 if len(review) > 10 else 0.8

    def share(text):
        return positive(text) if text.endswith("positive") else 1 - positive(text)

    printed, _ = run("classify", believes(share))
    assert printed[0] == "of no text at all: 20% negative, 80% positive"
    assert printed[1:3] == [" 69% positive: The best film of the year.", " 27% positive: Two hours that I want back."]
    assert printed[-1] == "3 of 6 right, 6 when calibrated"


def test_surprise(run):
    """The perplexity is that of all tokens but the first, and the unlikeliest of them are named."""
    printed, made = run("surprise", None)
    for text, line, worst in zip(made["TEXTS"], printed[::2], printed[1::2], strict=True):
        tokens = TOKENIZER.encode(text)
        scores = expected_logprobs(tokens)[1:]
        assert line == f"{math.exp(-statistics.fmean(scores)):.0f}: {text}"
        first = min(range(len(scores)), key=scores.__getitem__)
        assert worst.startswith(f"    {TOKENIZER.decode([tokens[first + 1]])!r} {scores[first]:.1f}, ")
        assert worst.count(", '") == 2


def calling(request):
    """A model that calls the tool once, and then says what it has heard."""
    text = text_of(request)
    if heard := re.search(r"<\|im_start\|>tool\n(\d+)", text):
        return f"It is {heard[1]}."
    a, b = re.search(r"What is (\d+) times (\d+)", text).groups()
    return f'<tool_call>\n{{"name": "multiply", "arguments": {{"a": {a}, "b": {b}}}}}\n</tool_call>'


@pytest.mark.slow
def test_tool_turns(run):
    """Eight rollouts a question, each with its call and its answer, exact to the token."""
    printed, made = run("tool_turns", calling)
    assert printed == ["512 rollouts of 1024 answers. The first ends: It is 198."]
    assert made["rollouts"][-1][-1].text == f"It is {74 * 81}."
    for first, last in made["rollouts"]:
        whole = last.prompt.to_ints()
        assert whole[: first.prompt.length + len(first.tokens)] == first.prompt.to_ints() + first.tokens


def test_rollouts(run):
    """The mask covers what was sampled, with its log-probabilities; advantages of a group come to nothing."""
    numpy = pytest.importorskip("numpy")

    def answers(request):
        number = int(re.search(r"What is (\d+) plus", text_of(request))[1])
        return [f"It is {2 * number}."] * 2 + ["No idea."] * 6

    printed, made = run("rollouts", answers)
    saved = numpy.load("rollouts.npz")
    tokens, mask, logprobs, advantages = (saved[name] for name in ("tokens", "mask", "logprobs", "advantages"))
    assert printed == [f"tokens {tokens.shape}, {mask.sum()} of them sampled; mean reward 0.25"]
    for row, answer in enumerate(made["rollouts"]):
        assert tokens[row][mask[row]].tolist() == answer.tokens
        assert logprobs[row][mask[row]].tolist() == expected_logprobs(answer.tokens)
        assert tokens[row].tolist()[: answer.prompt.length] == answer.prompt.to_ints()
    assert not logprobs[~mask].any()
    assert advantages.reshape(-1, 8).sum(axis=1) == pytest.approx([0] * 8, abs=1e-4)
    assert advantages[0] > 0 > advantages[7]


def test_chat_view(run):
    """The view answers with a message; where the server fails the visitor gets a status, and no details."""
    pytest.importorskip("flask")
    given = []

    def then(made):
        visitor = made["app"].test_client()
        chats = ([{"role": "user", "content": text}] for text in ("Hello?", "Fail, please."))
        given.extend(visitor.post("/chat", json={"messages": messages}) for messages in chats)

    def answers(request):
        if "Fail" in text_of(request):
            raise EngineError("out of luck", 500, "server")
        return "Good day."

    run("chat_view", answers, then=then)
    assert given[0].get_json() == {"message": {"role": "assistant", "content": "Good day."}}
    assert (given[1].status_code, given[1].get_data(as_text=True)) == (502, "sampling failed")
