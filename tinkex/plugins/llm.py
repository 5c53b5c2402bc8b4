"""Plug-in for llm: ``llm -m tinkex/MODEL``. Every start of llm loads it: the rest is loaded with the first use."""

from __future__ import annotations

from typing import Any

from llm import hookimpl


@hookimpl
def register_models(register: Any) -> None:
    """Tell llm the models that are known by name: see `tinkex.plugins.llm_names.known_names`."""
    from tinkex.plugins.llm_models import AsyncTinkexModel, TinkexModel
    from tinkex.plugins.llm_names import known_names

    for name in known_names():
        register(TinkexModel(name), AsyncTinkexModel(name))
