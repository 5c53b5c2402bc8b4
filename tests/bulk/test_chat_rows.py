from __future__ import annotations

import json

import pytest

import tinkex
from tinkex import bulk
from tinkex.testing import FakeServer
from tinkex.tokenizers import ChatTemplateError

pytest.importorskip("jinja2")

DATED = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"
PLAIN = "{{ messages[0].content }}"
ROWS = [{"id": number, "messages": [{"role": "user", "content": "hi"}]} for number in (1, 2)]


class Letters:
    """A tokenizer with a token for each character."""

    def __init__(self, chat_template):
        self.chat_template = chat_template

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


@pytest.fixture
def service():
    """A service on a fake server."""
    with FakeServer() as server, tinkex.ServiceClient(base_url=server.url, api_key="tml-x") as service:
        yield service


@pytest.fixture
def run(service, tmp_path):
    """Samples rows and returns the output's lines, in order."""

    def sample(rows, template, name="out.jsonl", **options):
        client = service.create_sampling_client(base_model="any/model")
        bulk.run(rows, tmp_path / name, client, tokenizer=Letters(template), max_tokens=1, **options)
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    return sample


def prompt(row):
    """The prompt of a row's result as text."""
    return "".join(map(chr, row["prompt_tokens"]))


def set_date(monkeypatch, seconds):
    """Make it another day."""
    monkeypatch.setattr("tinkex.bulk._plan.SYSTEM_CLOCK", type("Clock", (), {"wall": lambda: seconds}))


@pytest.mark.parametrize("form", ["native", "openai"])
def test_a_run_keeps_its_date(run, monkeypatch, form):
    """A run that goes on another day gives the template the date it began with, so that its prompts are all alike."""
    set_date(monkeypatch, 86_400 * 100.5)
    (first,) = run(ROWS[:1], DATED, form=form)
    set_date(monkeypatch, 86_400 * 200.5)
    _, second = run(ROWS, DATED, form=form)
    assert first["date"] == second["date"] == "1970-04-11"
    if form == "native":
        assert prompt(first) == prompt(second) == "11 Apr 1970 hi"


def test_a_template_without_a_date(run):
    """A row whose template writes no date has none, and the output of an earlier version is gone on with."""
    (row,) = run(ROWS[:1], PLAIN)
    assert "date" not in row
    assert row["fingerprint"] == run(ROWS[:1], DATED, "other.jsonl")[0]["fingerprint"]


def test_a_pinned_date(run):
    """A date among the template's variables goes before the run's, and is a parameter like any other."""
    (row,) = run(ROWS[:1], DATED, template_variables={"date": "2026-11-29"})
    assert prompt(row) == "29 Nov 2026 hi"
    assert "date" not in row
    with pytest.raises(bulk.ChangedError):
        run(ROWS[:1], DATED, template_variables={"date": "2026-11-30"})


def test_a_pinned_date_by_the_templates_own_name(run):
    """So does the variable that the template has for it: the run's date stands back."""
    template = "{{ date_string }} {{ messages[0].content }}"
    (row,) = run(ROWS[:1], template, template_variables={"date_string": "long ago"})
    assert (prompt(row), "date" in row) == ("long ago hi", False)
    variables = {"date_string": "long ago", "date": "2026-11-29"}
    with pytest.raises(ChatTemplateError, match="date, date_string: both say"):
        run(ROWS[:1], template, "both.jsonl", template_variables=variables)


TOOL = {"type": "function", "function": {"name": "rain", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("given", [{"tools": [TOOL]}, {"template_variables": {"mood": "good"}}])
def test_what_is_for_messages_beside_rows_without_any(run, given):
    """It is the row's error, which names it; where no row has messages it stops the run before anything is sampled."""
    (name,) = given
    rows = [{"id": "text", "prompt": "hi"}, {"id": "tokens", "prompt": [1]}, *ROWS[:1]]
    template = "{{ mood }} {{ tools | tojson }} {{ messages[0].content }}"
    found = {row["id"]: row for row in run(rows, template, **given)}
    text, tokens, chat = found["text"], found["tokens"], found[ROWS[0]["id"]]
    assert text["error"]["message"] == tokens["error"]["message"]
    assert text["error"]["message"].startswith(f"{name} is for messages, and this row has none")
    assert chat["status"] == "ok"
    with pytest.raises(bulk.InputError, match=f"{name} is for messages"):
        run(rows[:2], template, "hopeless.jsonl", **given)


def test_variables_that_some_models_read(service, tmp_path):
    """A variable that one model of the run reads reaches that model, and is no mistake for the others."""
    templates = {"a/a": "{{ mood }} {{ messages[0].content }}", "b/b": PLAIN}
    clients = {name: service.create_sampling_client(base_model=name) for name in templates}
    for name, client in clients.items():
        client.get_tokenizer = lambda template=templates[name]: Letters(template)
    bulk.run(ROWS[:1], tmp_path / "out.jsonl", clients, max_tokens=1, template_variables={"mood": "good"})
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {row["model"]: prompt(row) for row in rows} == {"a/a": "good hi", "b/b": "hi"}


def test_variables_that_no_model_reads(run):
    """A variable that no model reads stops the run that gives it to all rows, and is an error of a row of its own."""
    with pytest.raises(ChatTemplateError, match="moood"):
        run(ROWS[:1], PLAIN, template_variables={"moood": "good"})
    first, second = run([{**ROWS[0], "template_variables": {"moood": "good"}}, ROWS[1]], PLAIN)
    assert ("moood" in first["error"]["message"], second["error"]) == (True, None)


@pytest.mark.parametrize("name", ["messages", "tokenizer", "tools"])
def test_what_is_no_variable(run, name):
    """What the prompt is made of, and with, is no variable of a template: it is a field of the row, or of the run."""
    (row,) = run([{**ROWS[0], "template_variables": {name: []}}], "{{ tools }}" + PLAIN)
    assert row["error"]["message"] == f"template_variables must not have {name}, which is no variable of a template."
