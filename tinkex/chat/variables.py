"""Which template variables the models of a run read."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike

from tinkex.tokenizers import get_tokenizer
from tinkex.tokenizers._adapters import adapt
from tinkex.tokenizers._chat_template.prompt import choose_template
from tinkex.tokenizers._chat_template.role_colon import ROLE_COLON
from tinkex.tokenizers._chat_template.variables import unread_names


def unread_variables(
    names: Iterable[str], *tokenizers: str | PathLike[str] | object, chat_template: str | None = None
) -> list[str]:
    """Return the names that no chat template of these tokenizers reads, in their order.

    `ModelInput.from_messages` refuses a variable that its model does not read. In a run over several models, one that
    only some of them read is no mistake: ask with all the tokenizers for what is one, and with each for what to leave
    out. ``date`` is read by the templates that write today's date; ``documents`` counts as a variable.

    Args:
        names: Names of variables, such as ``enable_thinking``.
        tokenizers: Models' names, paths or tokenizers.
        chat_template: The template that they all use instead of their own, as text or by name.

    Raises:
        ChatTemplateError: A tokenizer has no template.
    """
    if chat_template == ROLE_COLON:
        return list(names)
    adapted = [adapt(get_tokenizer(tokenizer)) for tokenizer in tokenizers]
    templates = [choose_template(one, chat_template, with_tools=tools) for one in adapted for tools in (False, True)]
    return unread_names(names, templates)
