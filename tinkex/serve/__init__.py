"""OpenAI-compatible gateway: programs that speak OpenAI's API, or vLLM's dialect of it, sample through tinkex.

It needs the ``serve`` extra.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinkex.errors import extra

if TYPE_CHECKING:
    from tinkex.serve.app import make_app
    from tinkex.serve.gateway import Gateway

__all__ = ["Gateway", "make_app"]

if not TYPE_CHECKING:  # the plug-ins sample with what stands here, and have no use for an HTTP server

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'tinkex.serve' has no attribute {name!r}")
        with extra("serve", "tinkex.serve"):
            module = importlib.import_module(f"tinkex.serve.{'app' if name == 'make_app' else 'gateway'}")
        return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
