"""Plug-in for inspect-ai: ``--model tinkex/NAME``. Loaded by its entry point; the rest is loaded with the first use."""

from __future__ import annotations

from typing import Any

from inspect_ai.model import modelapi


@modelapi(name="tinkex")
def tinkex() -> Any:
    """Return the model API."""
    from tinkex.plugins.inspect_api import TinkexAPI

    return TinkexAPI
