"""Render a conversation to text with the model's chat template."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinkex.tokenizers._adapters import AdaptedTokenizer, LoadedTokenizer
from tinkex.tokenizers.errors import ChatTemplateError, TokenizerError

if TYPE_CHECKING:
    import jinja2

_REASONING = ("reasoning_content", "thinking", "reasoning")  # what model families call it, the usual name first


def render_chat(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: LoadedTokenizer | AdaptedTokenizer,
    *,
    add_generation_prompt: bool,
    tools: Sequence[Mapping[str, Any]] | None,
    chat_template: str | None,
    variables: Mapping[str, Any],
) -> str:
    """Return the text of a conversation; everything given must be plain data, as JSON has it.

    A field of a message that is None counts as absent, and reasoning goes by every name that templates have for it.

    Raises:
        ChatTemplateError: There is no template, it is broken, or it refuses the messages.
    """
    source = chat_template or _choose(tokenizer, with_tools=tools is not None)
    special = {} if chat_template and not tokenizer.chat_template else tokenizer.chat_files.special_tokens
    given = {**special, **variables, "add_generation_prompt": add_generation_prompt, "documents": None} | {
        "messages": [_standard(message) for message in messages],
        "tools": tools,
    }
    return _rendered(source, given, tokenizer)


def _choose(tokenizer: LoadedTokenizer | AdaptedTokenizer, *, with_tools: bool) -> str:
    templates = tokenizer.chat_files.templates
    name = "tool_use" if with_tools and "tool_use" in templates else "default"
    if name in templates:
        return templates[name]
    lacking = f"has chat templates named {', '.join(sorted(templates))}" if templates else "has no chat template"
    raise ChatTemplateError(
        f"tokenizer: {tokenizer!r} {lacking}, as base models have none. Pass chat_template=... with the text of one."
    )


def _standard(message: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in message.items() if value is not None}
    reasoning = next((known[name] for name in _REASONING if name in known), None)
    return known if reasoning is None else {"thinking": reasoning, **known, "reasoning_content": reasoning}


def _rendered(source: str, given: Mapping[str, Any], tokenizer: LoadedTokenizer | AdaptedTokenizer) -> str:
    try:
        from tinkex.tokenizers import _sandbox as sandbox
    except ImportError as error:
        raise TokenizerError("Rendering messages needs an extra. Run: pip install 'tinkex[chat]'") from error
    told = f"tokenizer: the chat template of {tokenizer!r}"
    try:
        with sandbox.limited_time():
            return "".join(sandbox.limited(_compiled(source).generate(given)))
    except sandbox.SecurityError as error:
        raise ChatTemplateError(f"{told} was stopped: {error}.") from error
    except sandbox.TemplateSyntaxError as error:
        raise ChatTemplateError(f"{told} is broken in line {error.lineno}: {error.message}") from error
    except sandbox.TemplateRefusedError as error:
        raise ChatTemplateError(f"messages: the chat template of {tokenizer!r} refuses them: {error}") from None
    except Exception as error:  # a template is a program, and can fail like one
        raise ChatTemplateError(f"{told} failed on these messages: {type(error).__name__}: {error}") from error


@functools.lru_cache(maxsize=32)
def _compiled(source: str) -> jinja2.Template:
    from tinkex.tokenizers._sandbox import Sandbox

    return Sandbox().from_string(source)
