from __future__ import annotations

import datetime as dt

import pytest
from letters import Letters, prompt_text

from tinkex.chat import unread_variables
from tinkex.tokenizers import ChatTemplateError

pytest.importorskip("jinja2")

HELLO = [{"role": "user", "content": "hello"}]
THINKS = "{% if false %}{{ enable_thinking }}{% endif %}{{ messages[0].content }}"
TODAY = "{{ strftime_now('%Y-%m-%d') }}"
DATE_STRING = "{% if date_string is not defined %}{% set date_string = '26 Jul 2024' %}{% endif %}{{ date_string }}"
LLAMA_3_2 = DATE_STRING.replace("'26 Jul 2024'", "strftime_now('%d %b %Y')")


def test_variables_that_are_read():
    """A variable that is read in a branch only is a variable of the template."""
    assert prompt_text(HELLO, THINKS, enable_thinking=True) == "hello"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("enable_thinkng", "enable_thinkng: .* reads no variable of that name; did you mean enable_thinking"),
        ("quite_another", "quite_another: .* reads no variable of that name$"),
        ("tokenize", "tokenize: is an argument of apply_chat_template"),
        ("return_dict", "return_dict: is an argument of apply_chat_template"),
        ("documents", "documents: .* reads no variable"),
        ("date", "date: .* reads no variable"),
    ],
)
def test_variables_that_nothing_reads(name, complaint):
    """A word that the template does not read is refused by name."""
    value = [] if name == "documents" else "2026-11-29"
    with pytest.raises(ChatTemplateError, match=complaint):
        prompt_text(HELLO, THINKS, **{name: value})


def test_a_run_over_several_models():
    """A variable that only some of the models read is no mistake; one that none reads is."""
    names = ["enable_thinking", "date", "documents", "nothing"]
    thinks, dated = Letters(THINKS), Letters(TODAY)
    assert unread_variables(names, thinks, dated) == ["documents", "nothing"]
    assert unread_variables(names, dated) == ["enable_thinking", "documents", "nothing"]
    assert unread_variables(["documents"], dated, chat_template="{{ documents }}") == []
    assert unread_variables(["date"], dated, chat_template="role_colon") == ["date"]


@pytest.mark.parametrize("date", ["2026-11-29", dt.date(2026, 11, 29), dt.datetime(2026, 11, 29, 23, 59)])  # noqa: DTZ001
@pytest.mark.parametrize(
    ("template", "text"), [(TODAY, "2026-11-29"), (DATE_STRING, "29 Nov 2026"), (LLAMA_3_2, "29 Nov 2026")]
)
def test_pinned_dates(template, text, date):
    """The date that a template writes can be pinned, whether it asks for today's or has a variable for it."""
    assert prompt_text(HELLO, template, date=date) == text


@pytest.mark.parametrize("template", [DATE_STRING, LLAMA_3_2])
def test_two_dates(template):
    """The template's own variable for the date is taken as it is, and refused beside `date`: neither wins silently."""
    assert "long ago" in prompt_text(HELLO, template, date_string="long ago")
    with pytest.raises(ChatTemplateError, match="date, date_string: both say"):
        prompt_text(HELLO, template, date="2026-11-29", date_string="long ago")


@pytest.mark.parametrize(("date", "kind"), [("29 Nov 2026", ValueError), (20261129, TypeError)])
def test_dates_that_are_none(date, kind):
    """A date is a date, or text in the form of ISO 8601."""
    with pytest.raises(kind, match="date must be"):
        prompt_text(HELLO, TODAY, date=date)


def test_formats_of_dates_are_measured():
    """A template gets no text of any size out of a date either."""
    with pytest.raises(ChatTemplateError, match="was stopped"):
        prompt_text(HELLO, "{{ strftime_now('%99999d') }}", date="2026-11-29")


def test_broken_templates():
    """A template that is broken says so, not that it reads nothing."""
    with pytest.raises(ChatTemplateError, match="broken in line 1"):
        prompt_text(HELLO, "{% if %}")
