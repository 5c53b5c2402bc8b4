"""A small real model on this machine: a loopback Tinker server over SmolLM2-135M-Instruct.

Each name is loaded with the first use of it: the server's process needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinkex.local.errors import LocalError
    from tinkex.local.fetch import MODEL_NAME, cache_dir, fetch_model, find_model
    from tinkex.local.report import SampleReport
    from tinkex.local.server import LocalServer
    from tinkex.local.tokenization.tokenizer import GgufTokenizer, load_tokenizer

__all__ = [
    "MODEL_NAME",
    "GgufTokenizer",
    "LocalError",
    "LocalServer",
    "SampleReport",
    "cache_dir",
    "fetch_model",
    "find_model",
    "load_tokenizer",
]
_MODULES = {
    "GgufTokenizer": "tokenization.tokenizer",
    "LocalError": "errors",
    "LocalServer": "server",
    "SampleReport": "report",
    "load_tokenizer": "tokenization.tokenizer",
}

if not TYPE_CHECKING:  # a checker would take any name for one that exists

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'tinkex.local' has no attribute {name!r}")
        module = importlib.import_module(f"tinkex.local.{_MODULES.get(name, 'fetch')}")
        value = globals()[name] = getattr(module, name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
