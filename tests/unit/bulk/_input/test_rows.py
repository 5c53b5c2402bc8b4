"""Rows as other tools write them, and the request lines of OpenAI's batches."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
import pathlib
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


CHAT = [{"role": "user", "content": "hi"}]


def row(**data):
    """The row of these columns."""
    return parse_row(7, {"prompt": "x", **data})


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (np.str_("a"), "a"), (Split.TRAIN, "train"), (Level.LOW, 3), (np.int64(3), 3), (1.0, 1), (np.float64(2), 2),
        (decimal.Decimal(5), 5), (dt.date(2026, 1, 2), "2026-01-02"), (np.datetime64("2026-01-02"), "2026-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
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


def test_numbers_and_their_text_are_one_id():
    """1 and "1" are one id: in tables ids are text, and there would be two rows of one id."""
    from tinkex.bulk._input.claims import key_of

    assert key_of(row(id=7).id, "m") == key_of(row(id="7").id, "m")


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
        ("max_tokens", decimal.Decimal(16), 16), ("temperature", decimal.Decimal("0.5"), 0.5), ("max_tokens", 1.5, 1.5),
        ("template_variables", {"day": dt.date(2026, 1, 2)}, {"day": "2026-01-02"}), ("score", "maybe", "maybe"),
    ],
)  # fmt: skip
def test_parameters(name, given, read):
    """A parameter has the type it is checked, written and compared in; what has none is left to the check."""
    found = parse_row(7, {"messages": CHAT, name: given})
    assert found.problem is None
    assert found.parameters == {name: read}
    assert json.dumps(found.parameters[name]) == json.dumps(read)


@pytest.mark.parametrize("given", [None, float("nan"), np.float64("nan"), NAType()])
def test_parameters_that_are_not_given(given):
    """A cell that holds nothing sets nothing: the run's own value is meant."""
    names = ("max_tokens", "temperature", "score", "stop", "seed", "tools", "template_variables")
    assert row(**dict.fromkeys(names, given), model=given).parameters == {}
    assert row(tools=[], template_variables={}).parameters == {}


@pytest.mark.parametrize(("name", "value"), [("tools", 5), ("tools", [{"type": "function"}]),
                                             ("template_variables", {"a": 1})])  # fmt: skip
def test_what_is_for_conversations_only(name, value):
    """What only a chat template reads is an error where there is no conversation, and never ignored."""
    for data in ({"prompt": "x"}, {"prompt_tokens": [1]}, {"prompt": tinkex.ModelInput.from_ints([1])}):
        assert parse_row(1, {**data, name: value}).problem == f"{name} is for messages, and this row has none."
    assert parse_row(1, {"prompt": CHAT, name: value}).problem is None
    assert "tools is for messages" in openai("/v1/completions", tools=[{"type": "function"}]).problem


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
     range(1, 3), [decimal.Decimal(1), 2], tinkex.ModelInput.from_ints([1, 2]),
     tinkex.ModelInput.from_ints([1]).append(tinkex.EncodedTextChunk([2]))],
)  # fmt: skip
def test_prompts_of_token_ids(prompt):
    """Token ids may be given in every form that `sample()` takes."""
    found = parse_row(1, {"prompt": prompt})
    assert found.problem is None
    given = found.prompt
    assert (given if isinstance(given, tinkex.ModelInput) else tinkex.ModelInput.from_ints(given)).to_ints() == [1, 2]
    assert Fingerprints().of(found, {}) == Fingerprints().of(parse_row(1, {"prompt_tokens": [1, 2]}), {})


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


class Grumpy:
    """An object that raises when it is looked at."""

    def __init__(self, error):
        self.error = error

    def tolist(self):
        raise self.error


@pytest.mark.parametrize("name", ["id", "prompt", "messages", "topic", "max_tokens", "model"])
@pytest.mark.parametrize("error", [OSError("leave me alone"), KeyError("no")])
def test_objects_that_fail_when_looked_at(name, error):
    """An object of the caller's that raises when it is looked at spoils its own row alone."""
    first, second = Source([{"id": "a", "prompt": [1], name: Grumpy(error)}, {"id": "b", "prompt": "x"}])
    assert f"The row cannot be read: {type(error).__name__}" in first.problem
    assert second.problem is None


def test_two_columns_of_one_name():
    """Of columns whose names are written alike none can be chosen."""
    row = parse_row(1, {"prompt": "a", 5: 2, "5": 3})
    assert "'5'" in (row.problem or "")
    assert parse_row(1, {"prompt": "a", 5: 2}).extra == {"5": 2}


def test_carried_along():
    """The caller's own columns keep their values as plain ones."""
    found = row(score_np=np.float64(0.5), count=np.int64(3), good=np.bool_(True), many=np.array([1, 2]), none=np.nan)
    assert json.dumps(found.extra) == '{"score_np": 0.5, "count": 3, "good": true, "many": [1, 2], "none": null}'


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        (dt.date(2026, 1, 2), "2026-01-02"), (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00+00:00"),
        (dt.time(1, 2), "01:02:00"), (dt.timedelta(seconds=5), "0:00:05"), (decimal.Decimal("1.50"), "1.50"),
        (decimal.Decimal("NaN"), None), (pathlib.PurePosixPath("/x"), "/x"), (Split.TRAIN, "train"), (2**70, 2**70),
        ([{"day": dt.date(2026, 1, 2)}], [{"day": "2026-01-02"}]), (np.datetime64("2026-01-02"), "2026-01-02"),
        ((1, [2.5, math.nan]), [1, [2.5, None]]),
    ],
)  # fmt: skip
def test_what_becomes_text(given, carried):
    """What JSON has no type for and one text stands for is carried along as that text, with orjson or without."""
    assert row(own=given).extra == {"own": carried}


@pytest.mark.parametrize(
    "given",
    [math.inf, -math.inf, np.float32("-inf"), [1.0, math.inf], {"a": {"b": -math.inf}}, decimal.Decimal("Infinity"),
     b"x", np.bytes_(b"x"), {1, 2}, frozenset(), 1j, object(), print, [object()]],
)  # fmt: skip
def test_what_cannot_be_carried_along(given):
    """What JSON has no form for is an error that names the column: another value would be told as the caller's."""
    found = row(id="a", own=given, topic="t")
    assert found.id == "a"
    assert found.problem.startswith("own holds an ")
    assert found.extra == {"topic": "t"}
    assert parse_row(1, {"body": {"prompt": "x"}, "own": given}).problem == found.problem
    for name, value in {"tools": [{"a": given}], "template_variables": {"a": given}}.items():
        assert parse_row(1, {"messages": CHAT, name: value}).problem.startswith(f"{name} holds an ")
    assert parse_row(1, {"messages": [{"role": "user", "content": given}]}).problem.startswith("messages holds an ")


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


def test_own_columns_of_lines():
    """A line of a batch has own columns as any row has; whether it wants log-probabilities is none of them."""
    found = parse_row(1, {"custom_id": "a", "method": "POST", "topic": "t", "body": {"prompt": "x", "logprobs": 0}})
    assert (found.extra, found.logprobs, found.problem) == ({"topic": "t"}, True, None)


def test_addresses_of_other_services():
    """A line for another service is refused."""
    assert "url must be" in openai("/v1/embeddings").problem
