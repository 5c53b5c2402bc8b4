"""Parsing of rows: tinkex's own form and the request lines of OpenAI's Batch API."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from tinkex.bulk._input import fields
from tinkex.bulk._input.task import FOR_MESSAGES, PARAMETERS, InvalidRowError, LineId, Prompt, Row, RowId
from tinkex.chat.openai_format import HARMLESS_FIELDS, NEUTRAL_VALUES
from tinkex.types import ModelInput

PROMPTS: Final = ("prompt", "prompt_tokens", "messages")
"""The columns of which a row needs one."""
NO_PROMPT: Final = f"A row needs one of {', '.join(PROMPTS)}; this one has none of them."
_NO_OBJECT: Final = 'A row must be a JSON object such as {"prompt": "..."}'
_OWN: Final = frozenset({"id", "custom_id", "model", *PROMPTS})
_OPENAI_OWN: Final = frozenset({"id", "custom_id", "method", "url", "body"})
_CHOICES: Final = ("completion", "choices")
_SAME: Final = ("max_tokens", "seed", "stop", "temperature", "top_p", "top_k", "tools", "best_of")
_HARMLESS: Final = HARMLESS_FIELDS | {"model", "messages", "prompt", "stream_options"}
_NEUTRAL: Final[Mapping[str, Sequence[Any]]] = {
    **NEUTRAL_VALUES, "stream": (False,), "echo": (False,), "stop_token_ids": ([],), "add_generation_prompt": (True,),
    "continue_final_message": (False,), "add_special_tokens": (True,),
}  # fmt: skip
"""What changes nothing: defaults of OpenAI's API and of the servers that speak it, which clients write out."""
_READ: Final = frozenset(
    {*_SAME, *_HARMLESS, "max_completion_tokens", "n", "logprobs", "top_logprobs", "chat_template_kwargs"}
)


def parse_row(number: int, data: object, *, of_table: bool = False) -> Row:
    """Parse one row; what is wrong with it is noted in the row. In one *of_table*, text may stand for other values."""
    if not isinstance(data, dict | Mapping):
        return _nameless(number, f"{_NO_OBJECT}, not {type(data).__name__}.")
    identity: RowId | None = None
    try:
        identity = fields.identity(data.get("custom_id"))
        identity = fields.identity(data.get("id")) if identity is None else identity
        identity = LineId(f"line {number}") if identity is None else identity
        cells = fields.from_cells(data) if of_table else data
        return _openai(number, identity, cells) if "body" in cells else _native(number, identity, cells)
    except Exception as error:  # noqa: BLE001 - an object of the caller's may do anything when it is looked at
        known = isinstance(error, InvalidRowError)
        problem = str(error) if known else f"The row cannot be read: {type(error).__name__}: {error}."
    if identity is None:
        return _nameless(number, problem)
    openai = "body" in data
    shape = (_shape(data) or "chat") if openai else "native"
    return Row(number, identity, None, {}, None, _own_columns(data, openai=openai), shape, problem)


def shared_fault(rows: Sequence[Row]) -> str | None:
    """Return what is wrong with a whole table, none of whose first rows can be read; None for faults of single rows.

    That are rows that have no prompt, that are no rows, or that have a column which cannot be written down.
    """
    without = next((row for row in rows if row.problem == NO_PROMPT), None)
    if without is not None:
        found = ", ".join(without.extra)[:300] or "nothing else"
        return f"No row has a prompt, which is called {', '.join(PROMPTS)}; the first one has {found}."
    problem = rows[0].problem or "" if len({row.problem for row in rows}) == 1 < len(rows) else ""
    return problem if problem.startswith(_NO_OBJECT) or problem.endswith(fields.NO_FORM) else None


def _own_columns(data: Mapping[Any, Any], *, openai: bool) -> dict[str, Any]:
    """Return what a row that cannot be sampled carries along, as far as that can be read."""
    found = {}
    taken = _OPENAI_OWN if openai else PARAMETERS | _OWN
    for name, value in data.items():
        if name not in taken:
            with contextlib.suppress(Exception):
                found[str(name)] = fields.carried(str(name), value)
    return found


def _nameless(number: int, problem: str) -> Row:
    return Row(number, LineId(f"line {number}"), problem=problem)


def _native(number: int, identity: RowId, data: Mapping[str, Any]) -> Row:
    parameters, extra = {}, {}
    for name, value in data.items():
        if name in PARAMETERS:
            found = fields.parameter(name, value)
            if found is not None:
                parameters[name] = found
        elif name not in _OWN:
            if (text := str(name)) in extra:
                raise InvalidRowError(f"Two columns are called {text!r}, as text and as something else.")
            extra[text] = fields.carried(text, value)
    model = data.get("model")
    row = Row(number, identity, _prompt(data), parameters, None if model is None else _model(model), extra)
    if parameters:
        _check_chat(row)
    if not extra or parameters.get("score") is False:
        return row
    choices = _choices(extra)
    answer = _answer(extra, choices) if choices and extra.get("choices") is not None else None
    return attrs.evolve(row, choices=choices, answer=answer) if choices else row


def _check_chat(row: Row) -> None:
    """Refuse what a row asks of the chat template where there is no conversation, and it would be ignored."""
    for name in FOR_MESSAGES:
        if name in row.parameters and row.messages is None:
            raise InvalidRowError(f"{name} is for messages, and this row has none.")


def _prompt(data: Mapping[str, Any]) -> Prompt:
    given = [(name, data[name]) for name in PROMPTS if name in data and fields.is_given(data[name])]
    if len(given) != 1:
        found = " and ".join(name for name, _ in given)
        raise InvalidRowError(NO_PROMPT.replace("none of them", found or "none of them"))
    ((name, prompt),) = given
    if isinstance(prompt, str) and name == "prompt":
        return str(prompt)
    if isinstance(prompt, ModelInput):
        return prompt
    items = fields.token_ids(name, prompt)
    kinds = Mapping if name == "messages" else int if name == "prompt_tokens" else int | Mapping
    if not items or not isinstance(items[0], kinds):
        wanted = "messages" if name == "messages" else "token ids"
        raise InvalidRowError(
            f"{name} must be a list of {wanted}; this one {'holds something else' if items else 'is empty'}."
        )
    return items


def _choices(row: Mapping[str, Any]) -> Sequence[str | Sequence[int]]:
    """Return the continuations that a row wants scored; none for a row to be sampled."""
    given = [name for name in _CHOICES if row.get(name) is not None]
    if not given:
        return ()
    if len(given) > 1:
        raise InvalidRowError("A row needs completion or choices to be scored; this one has both.")
    (name,) = given
    choices = [row[name]] if name == "completion" else row[name]
    if not isinstance(choices, list) or not choices:
        raise InvalidRowError(f"choices must be a list of texts or of lists of token ids, not {choices!r:.60}.")
    return [_choice(name if name == "completion" else f"choices[{at}]", each) for at, each in enumerate(choices)]


def _choice(name: str, value: Any) -> str | Sequence[int]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value:
        found = fields.token_ids(name, value)
        if all(type(each) is int for each in found):
            return found
    raise InvalidRowError(
        f"{name} must be a text or token ids, and not empty; this one is {value!r:.60}."
        " To sample the row and carry it along, say score: false."
    )


def _answer(row: Mapping[str, Any], choices: Sequence[Any]) -> int | None:
    """Return the index of the right choice: a whole number, or a text that equals one choice or is a whole number.

    None where the row has neither `answer` nor `label`, or -1, data sets' word for a label that is kept secret. Raises
    InvalidRowError for what names no choice: an accuracy that leaves rows out in silence would be another one.
    """
    strangers = []
    for name in ("answer", "label"):
        value = fields.carried(name, row.get(name))
        found = _index(value, choices)
        if found is not None and 0 <= found < len(choices):
            return found
        if found is not None and found != -1:
            strangers.append(
                f"{name} must be the index or the text of one of {len(choices)} choices, not {value!r:.60}."
            )
    if strangers:
        raise InvalidRowError(strangers[0])
    return None


def _index(value: Any, choices: Sequence[Any]) -> int | None:
    """Return the index that an answer stands for, -1 for none that is told; a number of no choice for anything else."""
    if isinstance(value, str):
        if value in choices:
            return choices.index(value)
        alike = [each for each in choices if isinstance(each, str) and each.strip() == value.strip()]
        if len(set(alike)) == 1:
            return choices.index(alike[0])
        number = re.fullmatch(r"\s*(-?\d{1,9})(?:\.0*)?\s*", value, re.ASCII)
        return int(number[1]) if number else None if not value.strip() else len(choices)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= -1 else len(choices)


def _model(value: Any) -> str | None:
    found = fields.carried("model", value)
    if found is not None and (not isinstance(found, str) or not found):
        raise InvalidRowError(f"model must be a name or a tinker:// path, not {found!r}.")
    return found


def _shape(data: Mapping[str, Any]) -> str | None:
    url, body = data.get("url"), data.get("body")
    if url is None and isinstance(body, Mapping):  # Mistral's and others' lines leave it out
        return "chat" if body.get("messages") is not None else "completion"
    path = url.rstrip("/") if isinstance(url, str) else ""  # with or without the version, the host or Azure's prefix
    if path.endswith("/chat/completions"):
        return "chat"
    return "completion" if path.endswith("/completions") else None


def _openai(number: int, identity: RowId, data: Mapping[str, Any]) -> Row:
    """Parse a request line of an OpenAI batch; refuses, and never ignores, what its body asks for in vain."""
    shape, body = _shape(data), data["body"]
    if not isinstance(body, Mapping):
        raise InvalidRowError(f"body must be a JSON object, not {type(body).__name__}.")
    if shape is None:
        raise InvalidRowError(f"url must be /v1/chat/completions or /v1/completions, not {data.get('url')!r}.")
    for name, value in body.items():
        if name not in _READ and value is not None and value not in _NEUTRAL.get(name, ()):
            raise InvalidRowError(f"body asks for {name}, which tinkex does not offer.")
    chat = shape == "chat"
    prompt = _prompt({"messages": body.get("messages")} if chat else {"prompt": _only_prompt(body.get("prompt"))})
    logprobs = body.get("logprobs")  # a switch in a chat, a number that may be 0 in a completion
    extra = {str(name): fields.carried(name, value) for name, value in data.items() if name not in _OPENAI_OWN}
    row = Row(
        number, identity, prompt, _asked(body, shape), _model(body.get("model")), extra, shape,
        logprobs=logprobs is not None and logprobs is not False,
    )  # fmt: skip
    _check_chat(row)
    return row


def _only_prompt(prompt: Any) -> Any:
    """Return the prompt of a completion that lists prompts: the only one."""
    if not isinstance(prompt, list) or not prompt or not isinstance(prompt[0], str | list):
        return prompt
    if len(prompt) > 1:
        raise InvalidRowError(f"prompt lists {len(prompt)} prompts: write a line for each.")
    return prompt[0]


def _asked(body: Mapping[str, Any], shape: str) -> dict[str, Any]:
    """Return the parameters that the body of a request line comes to."""
    given = {name: body.get(name) for name in _SAME}
    if body.get("max_completion_tokens") is not None:
        given["max_tokens"] = body["max_completion_tokens"]
    given["stop"] = body.get("stop") or None  # [] is none in OpenAI's API, and not even the end token in Tinker's
    given["top_k"] = None if body.get("top_k") in {0, -1} else body.get("top_k")
    given["num_samples"] = body.get("n")
    given["topk_sample_logprobs"] = (body.get("top_logprobs") if shape == "chat" else body.get("logprobs")) or None
    given["template_variables"] = body.get("chat_template_kwargs") or None
    if body.get("tool_choice") == "none":
        del given["tools"]
    if given["best_of"] == (body.get("n") or 1):
        del given["best_of"]  # no more than are wanted
    return fields.parameters(given)
