"""Errors of the embedded model."""

from __future__ import annotations

from tinkex.errors import TinkexError


class LocalError(TinkexError):
    """The embedded model cannot be fetched, read or run; the message says why and what helps."""
