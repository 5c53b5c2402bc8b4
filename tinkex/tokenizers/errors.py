"""Errors of tokenizers and chat templates."""

from __future__ import annotations

from tinkex.errors import MissingExtraError, TinkexError


class TokenizerError(TinkexError):
    """A tokenizer cannot be had; the message names the model, what was tried and what helps."""


class TokenizerExtraError(TokenizerError, MissingExtraError):
    """A tokenizer, or a chat template, needs an extra that is not installed; the text says how to install it."""


class ChatTemplateError(TokenizerError, ValueError):
    """A conversation cannot be rendered: there is no chat template, it is broken, or it refuses the messages."""
