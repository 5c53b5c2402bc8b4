"""Rows as other tools write them, and the request lines of OpenAI's batches."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import json
import uuid

import pytest

import tinkex
from tinkex.bulk._input.read import Source
from tinkex.bulk._input.rows import parse_row
from tinkex.bulk._input.task import Fingerprints

np = pytest.importorskip("numpy")


class Split(enum.StrEnum):
    TRAIN = "train"


class Level(enum.IntEnum):
    LOW = 3


class NAType:
    """Stands for pandas' NA."""


def row(**data):
    """The row of these columns."""
    return parse_row(7, {"prompt": "x", **data})


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (np.str_("a"), "a"), (Split.TRAIN, "train"), (Level.LOW, 3), (np.int64(3), 3), (1.0, 1), (np.float64(2), 2),
        (decimal.Decimal(5), 5), (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (float("nan"), "line 7"), (None, "line 7"), (NAType(), "line 7"), ("", ""), ("007", "007"), (10**30, 10**30),
    ],
)  # fmt: skip
def test_ids(given, read):
    """Ids are plain text or whole numbers, whatever type they had; one that is not given is none."""
    found = row(id=given)
    assert (found.id, found.problem) == (read, None)
    assert type(found.id) is type(read) or read == "line 7"
    assert row(id="x", custom_id=given).id == ("x" if read == "line 7" else read)


@pytest.mark.parametrize("given", [True, np.bool_(False), 1.5, [1], {"a": 1}, b"x", float("inf")])
def test_what_is_no_id(given):
    """Anything else is no id, and the row goes by its line."""
    found = row(id=given)
    assert found.problem.startswith("id must be text or a whole number, not ")
    assert found.id == "line 7"


def test_a_row_without_an_id_is_no_row_with_that_id():
    """The line by which a row without an id goes is never the id that another row brings."""
    from tinkex.bulk._input.claims import key_of

    assert row().id == row(id="line 7").id
    assert key_of(row().id, "m") != key_of(row(id="line 7").id, "m")
    assert key_of(row().id, "m") != key_of(row(id=7).id, "m")


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("max_tokens", 16.0, 16), ("max_tokens", np.int64(16), 16), ("seed", 7.0, 7), ("top_k", np.float64(5), 5),
        ("num_samples", 2.0, 2), ("stop", [2.0, 3.0], [2, 3]), ("stop", np.array(["a"]), ["a"]),
        ("stop", Split.TRAIN, "train"), ("temperature", 1, 1.0), ("temperature", np.float32(0.5), 0.5),
        ("score", np.bool_(True), True), ("score", 1.0, True), ("score", "True", True), ("score", 0, False),
        ("template_variables", [("thinking", False)], {"thinking": False}),
        ("template_variables", {1: "a", "b": 2}, {"1": "a", "b": 2}),
        ("template_variables", {"level": np.int64(3)}, {"level": 3}),
        ("tools", np.array([{"type": "function"}]), [{"type": "function"}]),
        ("max_tokens", 1.5, 1.5), ("score", "maybe", "maybe"),
    ],
)  # fmt: skip
def test_parameters(name, given, read):
    """A parameter has the type it is checked, written and compared in; what has none is left to the check."""
    found = row(**{name: given})
    assert found.problem is None
    assert found.parameters == {name: read}
    assert json.dumps(found.parameters[name]) == json.dumps(read)


@pytest.mark.parametrize("given", [None, float("nan"), np.float64("nan"), NAType()])
def test_parameters_that_are_not_given(given):
    """A cell that holds nothing sets nothing: the run's own value is meant."""
    names = ("max_tokens", "temperature", "score", "stop", "seed", "tools", "template_variables")
    assert row(**dict.fromkeys(names, given), model=given).parameters == {}
    assert row(tools=[]).parameters == {}


def test_the_same_row_from_any_tool():
    """One row has one fingerprint, whatever tool its values went through."""
    plain = {"prompt_tokens": [1, 2], "max_tokens": 16, "temperature": 1.0, "stop": ["a"]}
    other = {
        "prompt_tokens": np.array([1, 2]), "max_tokens": 16.0, "temperature": np.int64(1), "stop": np.array(["a"]),
        "prompt": float("nan"),
    }  # fmt: skip
    first, second = parse_row(1, plain), parse_row(1, other)
    assert Fingerprints().of(first, first.parameters) == Fingerprints().of(second, second.parameters)


@pytest.mark.parametrize(
    "prompt",
    [[1, 2], (1, 2), np.array([1, 2]), [np.int64(1), np.int64(2)], [1.0, 2.0], np.array([1.0, 2.0]),
     tinkex.ModelInput.from_ints([1, 2])],
)  # fmt: skip
def test_prompts_of_token_ids(prompt):
    """Token ids may be given in every form that `sample()` takes."""
    found = parse_row(1, {"prompt": prompt})
    assert found.problem is None
    given = found.prompt
    assert (given if isinstance(given, tinkex.ModelInput) else tinkex.ModelInput.from_ints(given)).to_ints() == [1, 2]
    assert len(Fingerprints().of(found, {})) == 16


def test_messages():
    """A conversation may come as arrays of a table, under its own name or as the prompt."""
    messages = np.array([{"role": np.str_("user"), "content": "hi"}], dtype=object)
    for name in ("messages", "prompt"):
        found = parse_row(1, {name: messages})
        assert found.messages == [{"role": "user", "content": "hi"}]


def test_pictures_stay():
    """What is no plain value in a message, such as a picture, is left as it is."""
    picture = tinkex.ImageAssetPointerChunk("asset", "png", expected_tokens=4)
    found = parse_row(1, {"messages": [{"role": "user", "content": [{"type": "image", "image": picture}]}]})
    assert found.messages[0]["content"][0]["image"] is picture


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"span": {(0, 5): "PER"}}, "span cannot be read: keys must be text, not tuple"),
        ({"template_variables": {(1,): 2}}, "template_variables cannot be read: keys must be text"),
        ({"messages": [{"role": {(): 1}}], "prompt": None}, "messages cannot be read"),
    ],
)
def test_what_no_row_can_hold(columns, words):
    """What cannot be written down is the row's own error, and names the column."""
    found = row(id="a", **columns)
    assert found.id == "a"
    assert words in found.problem


def test_objects_that_fail_when_looked_at():
    """An object of the caller's that raises when it is looked at spoils its own row alone."""
    from tinkex.bulk import Models
    from tinkex.bulk._input.claims import NoOutput
    from tinkex.bulk._plan import TaskPlan
    from tinkex.bulk._progress import Tally

    class Grumpy:
        def __str__(self):
            raise OSError("leave me alone")

    @dataclasses.dataclass
    class Nested:
        value: object = None

    rows = [{"id": "a", "messages": [{"role": "user", "content": Grumpy()}]}, {"id": "b", "prompt": "x"}]
    plan = TaskPlan(Source(rows), Models(("m",), None).names, {"max_tokens": 1}, "stop", Tally(None))
    first, second = plan.tasks(NoOutput())
    assert "OSError: leave me alone" in first.row.problem
    assert second.row.problem is None


def test_carried_along():
    """The caller's own columns keep their values as plain ones."""
    found = row(score_np=np.float64(0.5), count=np.int64(3), good=np.bool_(True), many=np.array([1, 2]), none=np.nan)
    assert json.dumps(found.extra) == '{"score_np": 0.5, "count": 3, "good": true, "many": [1, 2], "none": null}'


def openai(url="/v1/chat/completions", **body):
    """A request line of a batch."""
    chat = url is None or "chat" in str(url)
    prompt = {"messages": [{"role": "user", "content": "hi"}]} if chat else {"prompt": "x"}
    line = {"custom_id": "a", "method": "POST", "url": url, "body": {**prompt, **body}}
    return parse_row(1, {name: value for name, value in line.items() if value is not None})


@pytest.mark.parametrize(
    "body",
    [
        {"parallel_tool_calls": True}, {"min_p": 0}, {"repetition_penalty": 1.0}, {"modalities": ["text"]},
        {"tool_choice": "none"}, {"frequency_penalty": 0.0}, {"min_tokens": 0}, {"best_of": 1}, {"tools": []},
        {"chat_template_kwargs": {}}, {"prompt_cache_key": "k"}, {"stop": []}, {"top_k": -1}, {"top_k": 0},
        {"ignore_eos": False}, {"skip_special_tokens": True}, {"function_call": "none", "functions": []},
    ],
)  # fmt: skip
def test_neutral_values(body):
    """What a body asks for and changes nothing is no reason to refuse it."""
    found = openai(**body)
    assert (found.problem, found.parameters) == (None, {})


@pytest.mark.parametrize("body", [{"min_p": 0.1}, {"parallel_tool_calls": False}, {"modalities": ["audio"]},
                                  {"tool_choice": "required"}, {"logit_bias": {"1": 2}}])  # fmt: skip
def test_what_would_change_the_answer_is_refused(body):
    """What a body asks for and tinkex does not offer is an error."""
    assert f"asks for {next(iter(body))}" in openai(**body).problem


def test_what_bodies_of_others_ask_for():
    """Template variables, the best of several, and tools that are not to be used, as vLLM and OpenAI read them."""
    found = openai(chat_template_kwargs={"enable_thinking": False}, n=2, best_of=5, max_tokens=4.0)
    assert found.parameters == {
        "template_variables": {"enable_thinking": False}, "num_samples": 2, "best_of": 5, "max_tokens": 4,
    }  # fmt: skip
    assert openai(tools=[{"type": "function"}], tool_choice="none").parameters == {}
    assert "tools" in openai(tools=[{"type": "function"}], tool_choice="auto").parameters


@pytest.mark.parametrize(("url", "shape"), [
    ("/v1/chat/completions", "chat"), ("/v1/completions", "completion"), ("/chat/completions", "chat"), (None, "chat"),
    ("https://api.example.com/v1/chat/completions/", "chat"), ("/openai/deployments/x/completions", "completion"),
])  # fmt: skip
def test_where_lines_go(url, shape):
    """Azure's addresses, and lines without any, are understood."""
    assert (openai(url).shape, openai(url).problem) == (shape, None)


@pytest.mark.parametrize(("prompt", "found"), [(["hi"], "hi"), ([[1, 2]], [1, 2]), ([1, 2], [1, 2]), ("hi", "hi")])
def test_a_list_of_one_prompt(prompt, found):
    """A completion may list its prompts: one is taken, several are an error that says what to do."""
    line = {"url": "/v1/completions", "body": {"prompt": prompt, "max_tokens": 1}}
    assert (parse_row(1, line).prompt, parse_row(1, line).problem) == (found, None)
    line["body"]["prompt"] = [prompt, prompt] if isinstance(prompt, str) else ["a", "b"]
    assert parse_row(1, line).problem == "prompt lists 2 prompts: write a line for each."


def test_a_bad_row_keeps_its_columns():
    """What a row carries along stays with it when it cannot be sampled, as far as that can be read."""
    loop = []
    loop.append(loop)
    found = parse_row(1, {"id": "x", "prompt": [], "topic": "t", "loop": loop, "max_tokens": 3})
    assert (found.extra, found.id) == ({"topic": "t"}, "x")
    assert "loop cannot be read" in found.problem


def test_addresses_of_other_services():
    """A line for another service is refused."""
    assert "url must be" in openai("/v1/embeddings").problem
