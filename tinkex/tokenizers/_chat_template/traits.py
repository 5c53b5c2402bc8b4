"""What form of messages a chat template takes, found out by rendering small conversations."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

from tinkex.tokenizers._chat_template.plain import plain_copy
from tinkex.tokenizers._chat_template.render import ChatTemplate

ArgumentsForm = Literal["text", "mapping"]

PROBE: Final = "tinkexprobe"
CALL_ID: Final = "tinkexcal"
"""Nine letters, as Mistral's templates want them."""
_SECOND: Final = "tinkexsecond"
_ARGUMENTS: Final = {PROBE: "value"}
_Options = ParamSpec("_Options")
_Trait = TypeVar("_Trait")


def _cached(
    find: Callable[Concatenate[ChatTemplate, _Options], _Trait],
) -> Callable[Concatenate[ChatTemplate, _Options], _Trait]:
    """Keep what was found out about a template, without the tokenizer that it came with."""
    cached = functools.lru_cache(maxsize=256)(find)

    def ask(template: ChatTemplate, /, *options: _Options.args, **named: _Options.kwargs) -> _Trait:
        unnamed = ChatTemplate(template.source, template.special_tokens, tokenizer="")
        return cached(unnamed, *options, **named)  # type: ignore[arg-type]  # which may be anything hashable

    return ask


@_cached
def takes_parts(template: ChatTemplate, role: str) -> bool:
    """Whether the template takes the content of a role as a list of text parts, and writes more than the first.

    True also where that cannot be found out, since then the parts had best stay as they are.
    """
    before, after = _around(template, role)
    parts = [{"type": "text", "text": text} for text in (PROBE, _SECOND)]
    as_parts = _rendered(template, [*before, _message(role, parts), *after])
    if (
        as_parts is not None
        and PROBE in as_parts
        and _SECOND in as_parts
        and "'text'" not in as_parts
        and '"text"' not in as_parts
    ):
        return True
    as_text = _rendered(template, [*before, _message(role, PROBE), *after])
    return as_text is None or PROBE not in as_text


@_cached
def writes_role(template: ChatTemplate, role: str) -> bool:
    """Whether the template writes the messages of a role at all. True also where that cannot be found out."""
    texts = _texts_of_role(template, role)
    return all(text is None for text in texts) or any(text is not None and PROBE in text for text in texts)


@_cached
def knows_role(template: ChatTemplate, role: str) -> bool:
    """Whether the template tells a role from any other name, or none from another."""
    texts, others = _texts_of_role(template, role), _texts_of_role(template, role, called=f"{PROBE}role")
    return texts != others or not any(texts) or texts == _texts_of_role(template, role, called="user")


def _texts_of_role(template: ChatTemplate, role: str, called: str | None = None) -> list[str | None]:
    """Render messages of a role; *called* is the name it is given instead."""
    before, after = _around(template, role)
    contents: tuple[Any, ...] = (PROBE, [{"type": "text", "text": PROBE}])
    return [_rendered(template, [*before, _message(called or role, content), *after]) for content in contents]


@_cached
def arguments_form(template: ChatTemplate) -> ArgumentsForm | None:
    """How the template takes the arguments of a tool call: JSON text, a mapping, or None where it writes neither.

    Text is preferred where both are taken, since it is what the model has written, to the letter.
    """
    text = json.dumps(_ARGUMENTS)
    forms: tuple[tuple[ArgumentsForm, Any, str], ...] = (("text", text, text), ("mapping", _ARGUMENTS, PROBE))
    for content in ("", None):  # some templates write calls beside one of these only
        for form, arguments, written in forms:
            rendered = _rendered(template, [_message("user", "x"), call_message(arguments=arguments, content=content)])
            if rendered is not None and written in rendered:
                return form
    return None


def call_message(*, arguments: Any, name: str = "f", content: str | None = "") -> dict[str, Any]:
    """Return a message that calls one tool."""
    call = {"id": CALL_ID, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {**_message("assistant", content), "tool_calls": [call]}


def _message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _around(template: ChatTemplate, role: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Messages before and after one of that role, since many templates want them to alternate."""
    asked = [_message("user", "x")]
    if role in ("system", "developer"):
        return [], asked
    if role == "assistant":
        return asked, []
    if role in ("tool", "ipython"):
        arguments = {"city": "Bern"}  # not the probe, which is looked for in the content
        as_text = arguments_form(template) == "text"
        return [*asked, call_message(arguments=json.dumps(arguments) if as_text else arguments)], []
    return [], []


def _rendered(template: ChatTemplate, messages: list[dict[str, Any]]) -> str | None:
    if messages[-1]["role"] in ("tool", "ipython"):
        messages[-1] = {**messages[-1], "tool_call_id": CALL_ID, "name": "f"}
    plain = [plain_copy("messages", message) for message in messages]
    return template.try_render({"messages": plain, "tools": None, "add_generation_prompt": False})
