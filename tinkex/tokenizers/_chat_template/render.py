"""Compile and run chat templates: the errors of a template are translated here, once."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from tinkex.tokenizers._chat_template.plain import PrintedAsPythonError
from tinkex.tokenizers.errors import ChatTemplateError, TokenizerExtraError

if TYPE_CHECKING:
    import jinja2


_CONTAINER: Final = re.compile(r"(?:tinkex\.[\w.]+\.)?Plain(Mapping|List)(?: object)?")
"""What Python calls the containers of messages."""


def _pairs(items: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(items)


@attrs.frozen
class ChatTemplate:
    """A chat template with the special tokens of its tokenizer. Hashable; safe to share between threads."""

    source: str
    special_tokens: tuple[tuple[str, str], ...] = attrs.field(converter=_pairs)
    """The texts of special tokens under the names that templates use, such as ``bos_token``."""
    tokenizer: object = attrs.field(eq=False)
    """What error messages call the tokenizer: an object, since it may take long to write some of them."""

    def render(self, given: Mapping[str, Any]) -> str:
        """Run the template; the special tokens are variables of it, which *given* goes before.

        Raises:
            ChatTemplateError: It is broken, refuses what it is given, takes too long, or writes a list or mapping as
                Python spells it.
        """
        sandbox = _sandbox()
        try:
            template = _compiled(self.source)
            with sandbox.limited_time():
                return template.render({**dict(self.special_tokens), **given})
        except PrintedAsPythonError as error:
            raise ChatTemplateError(
                f"{error.place} is a {error.kind}, which the chat template of {self.tokenizer} does not take:"
                " the prompt would hold it as Python spells it"
            ) from None
        except sandbox.SecurityError as error:
            raise ChatTemplateError(f"{self._told} was stopped: {error}.") from error
        except sandbox.TemplateSyntaxError as error:
            raise ChatTemplateError(f"{self._told} is broken in line {error.lineno}: {error.message}") from error
        except sandbox.TemplateRefusedError as error:
            raise ChatTemplateError(f"messages: the chat template of {self.tokenizer} refuses them: {error}") from None
        except Exception as error:  # a template is a program, and can fail like one
            problem = _CONTAINER.sub(lambda found: found[1].lower(), f"{type(error).__name__}: {error}")
            raise ChatTemplateError(f"{self._told} failed on these messages: {problem}") from error

    @property
    def _told(self) -> str:
        return f"tokenizer: the chat template of {self.tokenizer}"

    def try_render(self, given: Mapping[str, Any]) -> str | None:
        """Run the template; None where `render` raises."""
        try:
            return self.render(given)
        except ChatTemplateError:
            return None

    @property
    def reads(self) -> frozenset[str]:
        """The names of variables that the template reads, some that it makes itself among them; none if it is broken.

        A template that asks for today's date reads ``date``.
        """
        return _names_read(self.source)

    @property
    def reads_special_tokens(self) -> bool:
        """Whether the template reads a variable such as ``bos_token``."""
        return _reads_special_tokens(self.source)


@functools.lru_cache(maxsize=32)
def _compiled(source: str) -> jinja2.Template:
    template: jinja2.Template = _sandbox().Sandbox().from_string(source)
    return template


@functools.lru_cache(maxsize=128)
def _names_read(source: str) -> frozenset[str]:
    sandbox = _sandbox()
    try:
        names = sandbox.variables_of(source)
    except sandbox.TemplateSyntaxError:  # which rendering tells of
        return frozenset()
    asks_for_today = "strftime_now" in source or "date_string" in names
    return frozenset(names | ({"date"} if asks_for_today else set()))


@functools.lru_cache(maxsize=128)
def _reads_special_tokens(source: str) -> bool:
    return any(name.endswith("_token") for name in _names_read(source))


def _sandbox() -> Any:
    try:
        from tinkex.tokenizers import _sandbox as sandbox
    except ImportError as error:
        raise TokenizerExtraError("Rendering messages needs an extra. Run: pip install 'tinkex[chat]'") from error
    return sandbox
