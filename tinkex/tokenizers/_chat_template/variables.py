"""Template variables: which a template reads, which are refused, and the date that it writes."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tinkex._validation.values import shown
from tinkex.tokenizers._chat_template.plain import plain_copy
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.tokenizers.errors import ChatTemplateError

_OF_APPLY_CHAT_TEMPLATE: Final = frozenset(
    {
        "conversation", "max_length", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors",
        "sanitize_control_tokens", "tokenize", "tokenizer_kwargs", "truncation",
    }
)  # fmt: skip


def unread_names(names: Iterable[str], templates: Iterable[ChatTemplate]) -> list[str]:
    """Return the names that none of the templates reads, in their order.

    The one rule for template variables: what only some of the models of a run read is fine, what none reads is a
    mistake, such as a misspelt ``enable_thinking``.
    """
    read = frozenset[str]().union(*(template.reads for template in templates))
    return [name for name in names if name not in read]


def check_variables(names: Iterable[str], templates: Iterable[ChatTemplate]) -> None:
    """Raise ChatTemplateError for a name that none of the templates reads, and for two that say the same."""
    names, templates = list(names), list(templates)
    if {"date", "date_string"} <= set(names):
        raise ChatTemplateError("date, date_string: both say what the template takes for today; give one of them")
    for name in unread_names(names, templates):
        if name in _OF_APPLY_CHAT_TEMPLATE:
            raise ChatTemplateError(
                f"{name}: is an argument of apply_chat_template of transformers; a prompt of tinkex is always made of"
                " token ids, without padding, and never cut"
            )
        read = frozenset[str]().union(*(template.reads for template in templates))
        near = difflib.get_close_matches(name, read, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        told = " or ".join(dict.fromkeys(str(template.tokenizer) for template in templates))
        raise ChatTemplateError(f"{name}: the chat template of {told} reads no variable of that name{meant}")


def template_variables(variables: Mapping[str, Any], template: ChatTemplate, date: object = None) -> dict[str, Any]:
    """Return the variables as plain data, those that pin the date among them.

    Raises:
        TypeError: A variable is not plain data, or the date is none.
    """
    plain = {name: plain_copy(name, value) for name, value in variables.items()}
    if date is None:
        return plain
    day = checked_date(date)
    pinned: dict[str, Any] = {"strftime_now": _formatter(day)}
    if "strftime_now" not in template.source and "date_string" in template.reads:  # Llama 3.1 has a date of its own
        pinned["date_string"] = day.strftime("%d %b %Y")
    return plain | pinned


def checked_date(date: object) -> dt.date:
    """Return a date given as a date, a datetime, or text such as ``2026-11-29``."""
    if isinstance(date, str):
        try:
            return dt.date.fromisoformat(date)
        except ValueError:
            raise ValueError(f"date must be a date such as 2026-11-29, got {shown(date)}") from None
    if not isinstance(date, dt.date):
        raise TypeError(f"date must be a date, or text such as '2026-11-29', got {shown(date)}")
    return date


def _formatter(day: dt.date) -> Callable[[str], str]:
    def strftime_now(format: str) -> str:
        from tinkex.tokenizers._sandbox import check_format

        check_format(format)
        return day.strftime(format)

    return strftime_now
