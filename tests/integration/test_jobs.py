"""The programs of docs/cookbook.rst, as they stand, on a fake server."""

from __future__ import annotations

import ast
import io
import json
import pathlib
import re
import runpy
import sys

import pytest

import tinkex
from tinkex.testing import FakeServer, ToyTokenizer, default_answer

pytest.importorskip("jinja2")

RECIPES = pathlib.Path(__file__).parents[2] / "docs" / "recipes"
JOBS = ("choices", "tool_turns", "judge")
TOKENIZER = ToyTokenizer()


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a program against a server whose model answers in this way; what it prints, and the names it has made."""

    def run(name, answers, *arguments, said=""):
        with FakeServer(answers=answers) as server:
            monkeypatch.setenv("TINKER_BASE_URL", server.url)
            monkeypatch.setenv("TINKER_API_KEY", "tml-test")
            monkeypatch.setattr(tinkex.ServiceClient, "local", lambda: tinkex.ServiceClient.direct(server.url))
            monkeypatch.setattr(sys, "argv", [name, *arguments])
            monkeypatch.setattr(sys, "stdin", io.StringIO(said))
            made = runpy.run_path(str(RECIPES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines(), made

    return run


@pytest.mark.parametrize("name", JOBS)
def test_short(name):
    """A job is at most fifteen lines, its imports among them."""
    text = (RECIPES / f"{name}.py").read_text()
    behind = ast.parse(text).body[0].end_lineno
    assert len([line for line in text.splitlines()[behind:] if line.strip()]) <= 15


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


def test_choices(run, tmp_path):
    """Every question is scored, by all three numbers."""
    rows = [{"question": f"{n}?", "choices": ["no", "yes", "perhaps"], "answer": n % 2} for n in range(40)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed, _ = run("choices", prefers(" yes"), str(tmp_path / "q.jsonl"))
    assert printed == [f"{by}: 20 of 40 right" for by in ("best", "best_by_mean", "best_by_byte")]


def calling(request):
    """A model that calls the tool once, and then says what it has heard."""
    text = TOKENIZER.decode(request.prompt.to_ints())
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


def judging(favourite):
    """Two models, of which the first says Good and the second Bad, and a judge that has a favourite."""
    said = iter(["Good.", "Good.", "Bad.", "Bad."])

    def answers(request):
        if not request.include_prompt_logprobs:
            return next(said)
        return prefers(favourite(TOKENIZER.decode(request.prompt.to_ints())))(request)

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
    printed, _ = run("judge", judging(favourite), "model/one", "model/two", "judge", said="Why?\nHow?\n")
    assert printed == [f"model/one is preferred to model/two with {told}"]
