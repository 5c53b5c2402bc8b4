"""Rows whose choices are scored, and rows of which the best of several answers are kept."""

from __future__ import annotations

import csv
import json
import math
import threading

import pytest

import tinkex
from tinkex import bulk, testing
from tinkex._concurrency.clock import SYSTEM_CLOCK
from tinkex.bulk._limits import Gate
from tinkex.types import SampledSequence, SampleResponse


class Pairs:
    """A tokenizer that joins "ab" to one token and begins every text with a special one, unless told not to."""

    def encode(self, text, add_special_tokens=True):
        ids = [1] if add_special_tokens else []
        while text:
            size = 2 if text.startswith("ab") else 1
            ids.append(2 if size == 2 else ord(text[0]))
            text = text[size:]
        return ids

    def decode(self, ids, skip_special_tokens=False):
        return "".join("ab" if token == 2 else chr(token) for token in ids if token > 1)


def answers(request):
    """A log-probability for each token of the prompt that is its number, below zero; zero is impossible."""
    tokens = request.prompt.to_ints()
    scores = [None, *(-math.inf if token == ord("0") else -float(token) for token in tokens[1:])]
    topk = [None, *([(token, -1.0), (9, -2.0)] for token in tokens[1:])] if request.topk_prompt_logprobs else None
    return SampleResponse([SampledSequence([5], [-1.0])], prompt_logprobs=scores, topk_prompt_logprobs=topk)


@pytest.fixture
def server():
    """A server with known scores."""
    with testing.FakeServer(answers=answers) as running:
        yield running


@pytest.fixture
def go(server, tmp_path):
    """Runs rows; returns the summary and the rows of the output."""

    def run(rows, name="out.jsonl", output="out.jsonl", **options):
        with tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
            client = service.create_sampling_client(base_model="any/model")
            summary = bulk.run(rows, tmp_path / name, client, **{"tokenizer": Pairs(), "canary": False, **options})
        return summary, [json.loads(line) for line in (tmp_path / output).read_text().splitlines()]

    return run


def prompts(server):
    """The tokens of every prompt that was sent, sorted: samples that begin together come in any order."""
    return sorted(
        [token for chunk in request.json["prompt"]["chunks"] for token in chunk["tokens"]]
        for request in server.requests_to("asample")
    )


def test_tokens_at_the_boundary(go, server):
    """Text is encoded with its prompt, and what a token takes of the prompt is scored with every choice."""
    _, (row,) = go([{"id": "q", "prompt": "xa", "choices": ["b", "cb", [7, 8]]}])
    context = [1, ord("x")]
    assert prompts(server) == [[*context, 2], [*context, ord("a"), 7, 8], [*context, ord("a"), ord("c"), ord("b")]]
    assert row["prompt_tokens"] == context
    assert [each["tokens"] for each in row["choices"]] == [[2], [97, 99, 98], [97, 7, 8]]
    sent = server.requests_to("asample")[0].json
    assert (sent["sampling_params"]["max_tokens"], sent["prompt_logprobs"]) == (1, True)


def test_attempts(go, server):
    """Attempts are those of the choice that took the most: a row of two choices was not sent twice for that."""
    (once,) = go([{"id": "q", "prompt": "x", "choices": ["b", "c"]}])[1]
    server.fail_next("asample", status=503)
    (twice,) = go([{"id": "q", "prompt": "x", "choices": ["b", "c"]}], output="again.jsonl", name="again.jsonl")[1]
    assert (once["attempts"], twice["attempts"]) == (1, 2)


def test_a_choice_behind_messages(go, server):
    """Behind a conversation a choice is encoded by itself."""
    tokenizer = Pairs()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    go([{"id": "q", "messages": [{"role": "user", "content": "xa"}], "choices": ["b"]}], tokenizer=tokenizer)
    assert prompts(server) == [[ord("x"), ord("a"), ord("b")]]


def test_what_is_written(go):
    """A row of choices has each one's tokens and scores, the likeliest by sum and by mean, and whether it is right."""
    row = {"id": "q", "prompt": "q", "choices": [[3, 4], [5], [50]], "answer": 1, "topic": "t"}
    summary, (found,) = go([row], max_tokens=9)
    assert [choice["tokens"] for choice in found["choices"]] == [[3, 4], [5], [50]]
    assert [choice["logprobs"] for choice in found["choices"]] == [[-3.0, -4.0], [-5.0], [-50.0]]
    assert [choice["logprob"] for choice in found["choices"]] == [-7.0, -5.0, -50.0]
    assert [choice["mean_logprob"] for choice in found["choices"]] == [-3.5, -5.0, -50.0]
    assert (found["best"], found["best_by_mean"], found["answer"]) == (1, 0, 1)
    assert (found["correct"], found["correct_by_mean"]) == (True, False)
    assert found["prompt_tokens"] == [1, ord("q")]
    assert found["sequences"] == []
    assert "prompt_logprobs" not in found
    assert found["extra"] == {"answer": 1, "topic": "t"}
    assert found["usage"] == {"prompt_tokens": 4 + 3 + 3, "sampled_tokens": 3, "prompt_cache_hit_tokens": 0}
    assert (summary.done, summary.prompt_tokens) == (1, 10)


def test_an_impossible_choice(go):
    """A choice that cannot come is never the best; where all of them cannot, none is."""
    _, (first, second) = go([
        {"id": 1, "prompt": "q", "choices": ["0", "z"], "label": "0"},
        {"id": 2, "prompt": "q", "choices": ["0", "00"], "label": 1},
    ])  # fmt: skip
    assert (first["best"], first["answer"], first["correct"]) == (1, 0, False)
    assert (second["best"], second["correct"]) == (None, False)


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    ("columns", "answer"),
    [({"answer": 2.0}, 2), ({"label": "2"}, 2), ({"answer": "ccc"}, 2), ({"answer": " 1.0"}, 1),
     ({"answer": "b "}, 1), ({"label": -1}, None), ({}, None), ({"answer": None}, None),
     ({"answer": "x", "label": 1}, 1)],
)  # fmt: skip
def test_the_right_answer(go, columns, answer):
    """The right choice is told by its index, or by its text; otherwise nothing is said of it."""
    _, (found,) = go([{"id": 1, "prompt": "q", "choices": ["a", "b", "ccc"], **columns}])
    assert found["answer"] == answer
    assert (found["correct"] is None) is (answer is None)


def test_choices_that_are_the_same(go):
    """Of choices with the same tokens each is as right as the other."""
    _, (first, second, third) = go([
        {"id": 1, "prompt": "q", "choices": ["b", "a", "a"], "answer": 2},
        {"id": 2, "prompt": "q", "choices": ["a", "a"], "answer": "a"},
        {"id": 3, "prompt": "q", "choices": [[9], [9], [4]], "answer": 0},
    ])  # fmt: skip
    assert [(row["best"], row["answer"], row["correct"]) for row in (first, second, third)] == [
        (1, 2, True), (0, 0, True), (2, 0, False),
    ]  # fmt: skip


def test_one_choice(go):
    """The answer to a single choice counts as any other; that of a completion is a column of the caller's."""
    _, (first, second, third) = go([
        {"id": 1, "prompt": "q", "choices": ["a"], "answer": 0},
        {"id": 2, "prompt": "q", "choices": ["a"], "answer": 5},
        {"id": 3, "prompt": "q", "completion": "a", "answer": 5},
    ])  # fmt: skip
    found = [(row["status"], row.get("correct")) for row in (first, second, third)]
    assert found == [("ok", True), ("error", None), ("ok", None)]
    assert third["extra"] == {"answer": 5}


def test_options_of_scores(go, server):
    """Every token of a choice is scored, however few are asked for; the likeliest tokens stand with each choice."""
    options = {"include_prompt_logprobs": True, "prompt_logprobs_last_n": 1, "topk_prompt_logprobs": 2}
    _, (row,) = go([{"id": 1, "prompt": [7, 8], "choices": [[3, 4, 5], [6]]}], **options)
    assert sorted(each.json["prompt_logprobs_last_n"] for each in server.requests_to("asample")) == [1, 3]
    assert [choice["logprobs"] for choice in row["choices"]] == [[-3.0, -4.0, -5.0], [-6.0]]
    assert row["choices"][1]["topk_logprobs"] == [[[6, -1.0], [9, -2.0]]]
    assert [each[0][0] for each in row["choices"][0]["topk_logprobs"]] == [3, 4, 5]
    assert "topk_prompt_logprobs" not in row


@pytest.mark.thin(2)
@pytest.mark.parametrize("answer", ["nothing of that", 3, 1.5, True, ["a"], "7"])
def test_an_answer_that_is_no_choice(go, answer):
    """An answer that names no choice is the row's error: an accuracy without the row would look like that of all."""
    _, (found,) = go([{"id": 1, "prompt": "q", "choices": ["a", "b", "ccc"], "answer": answer}])
    assert (found["status"], "answer must be" in found["error"]["message"]) == ("error", True)


def test_a_completion(go, server):
    """A row with a completion has that one scored; behind a conversation it stands where the answer begins."""
    tokenizer = Pairs()
    tokenizer.chat_template = "{{ messages[0].content }}{% if add_generation_prompt %}:{% endif %}"
    _, rows = go([
        {"id": 1, "prompt": [7, 8], "completion": [3, 4]},
        {"id": 2, "messages": [{"role": "user", "content": "q"}], "completion": " a"},
    ], tokenizer=tokenizer)  # fmt: skip
    assert [row["choices"][0]["logprob"] for row in rows] == [-7.0, -float(ord(" ") + ord("a"))]
    assert prompts(server) == [[7, 8, 3, 4], [ord("q"), ord(":"), ord(" "), ord("a")]]
    assert "extra" not in rows[0]


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    ("columns", "words"),
    [({"choices": []}, "choices must be a list"), ({"choices": "ab"}, "choices must be a list"),
     ({"choices": ["a", ""]}, r"choices\[1\] must be"), ({"choices": ["a", [1.5]]}, r"choices\[1\] must be"),
     ({"completion": {"role": "x"}}, "completion must be.*score: false"),
     ({"choices": ["a"], "completion": "b"}, "both"),
     ({"choices": ["a", "b"], "answer": 2}, "one of 2 choices, not 2")],
)  # fmt: skip
def test_choices_that_cannot_be_scored(go, columns, words):
    """What is wrong with the choices of a row is its own error, and named."""
    summary, _ = go([{"id": 0, "prompt": "q", "choices": ["a"]}, {"id": 1, "prompt": "q", **columns}])
    assert (summary.done, summary.failed) == (1, 1)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(summary.errors[0][0])


def test_choices_that_are_carried_along(go):
    """Rows that say score: false, or a run that does, are sampled, with their choices among their own columns."""
    row = {"id": 1, "prompt": [7], "completion": "b", "answer": 0}
    for rows, options in (([{**row, "score": False}], {}), ([{**row, "id": 2}], {"score": False})):
        _, found = go(rows, max_tokens=1, **options)
        assert len(found[-1]["sequences"]) == 1
        assert found[-1]["extra"] == {"completion": "b", "answer": 0}
        assert "choices" not in found[-1]


def test_another_choice_is_another_row(go):
    """Rows are done once; a row with another choice is not what was done before."""
    row = {"id": 1, "prompt": "q", "choices": ["a", "b"]}
    go([row])
    assert go([row])[0].skipped == 1
    with pytest.raises(bulk.ChangedError):
        go([{**row, "choices": ["a", "c"]}])


def test_another_answer_is_another_row(go):
    """Where the right choice is corrected, what was found correct before is not left as it was."""
    row = {"id": 1, "prompt": "q", "choices": ["a", "b"]}
    assert go([{**row, "answer": 0}])[1][0]["correct"] is True
    assert go([{**row, "answer": "a"}])[0].skipped == 1
    for now in ({"answer": 1}, {}):
        with pytest.raises(bulk.ChangedError, match=rf"made with answer=0 \(now {now.get('answer')}\)"):
            go([{**row, **now}])
    assert go([{**row, "answer": 1}], changed="redo")[1][0]["correct"] is False


def test_a_choice_that_fails(go, server):
    """Where one of the samples fails, the row does."""
    server.fail_samples("the model stumbled", times=1)
    summary, (found,) = go([{"id": 1, "prompt": "q", "choices": ["a", "b", "c"]}])
    assert (summary.failed, found["status"]) == (1, "error")
    assert "stumbled" in found["error"]["message"]
    assert "choices" not in found


def test_requests_are_counted_one_by_one():
    """A limit of requests a minute counts the samples of a row, not the row."""
    gate = Gate(bulk.Limits(requests_per_minute=60), SYSTEM_CLOCK, threading.Event())
    assert gate.enter(1, 5)
    assert 4 < gate._requests.delay(SYSTEM_CLOCK.monotonic()) <= 5


def test_tables_of_choices(go, tmp_path):
    """A table has a line for each choice; what is read back is what was written."""
    go([{"id": "q", "prompt": "q", "choices": ["a", "b"], "answer": 0}], name="out.csv", output="out.csv.jsonl")
    with (tmp_path / "out.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["text"], row["logprob"], row["correct"]) for row in found] == [
        ("a", "-97.0", "true"), ("b", "-98.0", "true"),
    ]  # fmt: skip
    (result,) = bulk.read(tmp_path / "out.csv.jsonl")
    assert [choice.logprob for choice in result.choices] == [-97.0, -98.0]


def several(request):
    """Answers of which the longest is likeliest by its mean, and the shortest by its sum; one has no score."""
    made = [
        SampledSequence([1, 1, 1, 1], [-1.0] * 4), SampledSequence([2], [-2.0]), SampledSequence([3], [math.nan]),
        SampledSequence([4, 4], [-9.0, -0.5]),
    ]  # fmt: skip
    assert request.num_samples == 4
    return SampleResponse(made, usage=None)


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, [[1, 1, 1, 1]]), ({"best_of_by": "logprob"}, [[2]]), ({"num_samples": 2}, [[1, 1, 1, 1], [2]]),
     ({"num_samples": 4, "best_of_by": "logprob"}, [[2], [1, 1, 1, 1], [4, 4], [3]])],
)  # fmt: skip
def test_best_of(tmp_path, options, kept):
    """Of the answers sampled the best are kept, the best first, by the mean of their log-probabilities or the sum."""
    with (
        testing.FakeServer(answers=several) as server,
        tinkex.ServiceClient(base_url=server.url, api_key="k") as service,
    ):
        client = service.create_sampling_client(base_model="any/model")
        row = {"id": 1, "prompt": [7]}
        summary = bulk.run([row], tmp_path / "o.jsonl", client, max_tokens=4, best_of=4, omit=["text"], **options)
    found = json.loads((tmp_path / "o.jsonl").read_text())
    assert [sequence["tokens"] for sequence in found["sequences"]] == kept
    assert found["parameters"] == {"max_tokens": 4, "best_of": 4, **options}
    assert summary.sampled_tokens == 8, "all that was sampled is counted"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"best_of": 0}, "best_of must be at least 1"), ({"best_of": 2, "num_samples": 3}, "at least num_samples"),
     ({"best_of": 2, "best_of_by": "length"}, "best_of_by must be"), ({"best_of": "x"}, "best_of must be a whole")],
)  # fmt: skip
def test_wrong_best_of(tmp_path, options, words):
    """What cannot be meant by the best of several is refused before anything is sent."""
    with pytest.raises((ValueError, TypeError), match=words):
        bulk.run([{"prompt": [1]}], tmp_path / "o.jsonl", {"m": None}, max_tokens=4, **options)
