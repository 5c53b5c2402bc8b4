"""From messages and a tokenizer to the text of a prompt: choose the template, check its variables, render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from tinkex._validation.values import shown
from tinkex.tokenizers._adapters import AdaptedTokenizer, LoadedTokenizer
from tinkex.tokenizers._chat_files import ChatFiles
from tinkex.tokenizers._chat_template.conversation import RenderOptions, render_conversation
from tinkex.tokenizers._chat_template.left_out import texts_left_out
from tinkex.tokenizers._chat_template.messages import Conversation, read_tools
from tinkex.tokenizers._chat_template.plain import DROP_NULLS, PlainMapping, plain_copy
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.tokenizers._chat_template.role_colon import ROLE_COLON, role_colon_pieces
from tinkex.tokenizers._chat_template.variables import check_variables, template_variables
from tinkex.tokenizers.errors import ChatTemplateError

AnyTokenizer = LoadedTokenizer | AdaptedTokenizer


@attrs.frozen(kw_only=True)
class PromptOptions:
    """How a conversation becomes a prompt: the arguments of `ModelInput.from_messages`, unchecked."""

    add_generation_prompt: bool | None = None
    """None: unless the last message is continued."""
    tools: Any = None
    documents: Any = None
    chat_template: str | None = None
    continue_final_message: bool | str = False
    date: Any = None
    variables: Mapping[str, Any] = attrs.field(factory=dict)


def prompt_pieces(conversation: Conversation, tokenizer: AnyTokenizer, options: PromptOptions) -> list[str]:
    """Return the text of a prompt, in the pieces that are encoded one by one: one piece for all chat templates.

    Raises:
        ChatTemplateError: There is no template, it is broken, refuses the messages, or leaves something out.
        TypeError: Something given is not plain data, or of the wrong type; the message names it.
    """
    if options.add_generation_prompt and options.continue_final_message:
        raise ValueError("continue_final_message: the prompt ends in the last message, so no header can follow")
    header = options.add_generation_prompt
    header = not options.continue_final_message if header is None else header
    tools = read_tools(options.tools)
    if options.chat_template == ROLE_COLON and ROLE_COLON not in tokenizer_templates(tokenizer):
        return _role_colon(conversation, tokenizer, options, header)
    template = choose_template(tokenizer, options.chat_template, with_tools=tools is not None)
    variables = dict(options.variables)
    if options.documents is not None:
        variables["documents"] = plain_copy("documents", options.documents, DROP_NULLS)
    if names := [*variables, *(["date"] if options.date is not None else ())]:
        check_variables(names, [template])
    rendering = RenderOptions(
        tools=tools,
        variables=template_variables(variables, template, options.date),
        add_generation_prompt=header,
        continue_final_message=options.continue_final_message,
    )
    return [render_conversation(template, conversation.messages, rendering)]


def continuation_pieces(
    conversation: Conversation,
    before: Conversation,
    tokenizer: AnyTokenizer,
    options: PromptOptions,
    kept: Callable[[list[str]], list[str]],
) -> list[str]:
    """Return what *kept* takes of the pieces of a conversation that goes on behind another.

    Raises:
        ChatTemplateError: Also where a text of the conversation is not in what was taken: a template may write it
            elsewhere, as DeepSeek's do with what the system says.
    """

    def taken(messages: list[PlainMapping]) -> list[str]:
        whole = attrs.evolve(conversation, messages=[*before.messages, *messages])
        return kept(prompt_pieces(whole, tokenizer, options))

    def try_taken(messages: list[PlainMapping]) -> str | None:
        try:
            return "".join(taken(messages))
        except ChatTemplateError:
            return None

    pieces = taken(conversation.messages)
    for place in texts_left_out(conversation.messages, try_taken, len(conversation.messages)):
        raise ChatTemplateError(f"{place}: the chat template of {tokenizer!r} does not write it behind an answer")
    return pieces


def choose_template(tokenizer: AnyTokenizer, given: str | None, *, with_tools: bool = False) -> ChatTemplate:
    """Return a template that is given as text or by name, or that of the tokenizer.

    Raises:
        ChatTemplateError: There is none, or none of that name.
        TypeError: It is no text.
    """
    if given is not None and not isinstance(given, str):
        raise TypeError(f"chat_template must be the text or the name of a template, got {shown(given)}")
    if given is not None and "{" in given:
        return _template(tokenizer, given)
    files = tokenizer.chat_files
    templates = files.templates
    name = given or ("tool_use" if with_tools and "tool_use" in templates else "default")
    if name in templates:
        return _template(tokenizer, templates[name], files)
    known = f"has chat templates named {', '.join(sorted(templates))}" if templates else "has no chat template"
    if given is not None:
        raise ChatTemplateError(
            f"chat_template: {given!r} is neither the text of a template nor the name of one: {tokenizer!r} {known}"
        )
    if templates:
        raise ChatTemplateError(f"chat_template: {tokenizer!r} {known}, and none of them is the default: name one")
    raise ChatTemplateError(f"tokenizer: {tokenizer!r} {known}, as base models have none. {_way_out(tokenizer)}")


def tokenizer_templates(tokenizer: AnyTokenizer) -> Mapping[str, str]:
    """Return the tokenizer's chat templates by name; read, or downloaded, when first asked for."""
    return tokenizer.chat_files.templates


def _way_out(tokenizer: AnyTokenizer) -> str:
    if isinstance(tokenizer, AdaptedTokenizer) and tokenizer.renders_itself:
        return "It renders messages itself: ModelInput.from_ints(tokenizer.apply_chat_template(messages)['input_ids'])"
    return (
        f"Pass chat_template=... with the text of one, or {ROLE_COLON!r}; chat() takes it as"
        ' template_variables={"chat_template": ...}.'
    )


def _template(tokenizer: AnyTokenizer, source: str, files: ChatFiles | None = None) -> ChatTemplate:
    template = ChatTemplate(source, (), tokenizer)
    if not template.reads_special_tokens:
        return template  # so that the files of a model need not be there for a template that is given
    special_tokens = (files or tokenizer.chat_files).special_tokens
    return ChatTemplate(source, sorted(special_tokens.items()), tokenizer)


def _role_colon(conversation: Conversation, tokenizer: AnyTokenizer, options: PromptOptions, header: bool) -> list[str]:
    for name, value in (("tools", options.tools), ("documents", options.documents), ("date", options.date)):
        if value:
            raise ChatTemplateError(f"{name}: {ROLE_COLON} has no place for them")
    for name in options.variables:
        raise ChatTemplateError(f"{name}: {ROLE_COLON} reads no variables")
    pieces = role_colon_pieces(
        conversation.messages,
        bos_token=tokenizer.chat_files.special_tokens.get("bos_token", ""),
        add_generation_prompt=header,
        continue_final_message=bool(options.continue_final_message),
    )
    return [piece for piece in pieces if piece]
