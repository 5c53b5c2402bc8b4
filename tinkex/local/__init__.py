"""A small real model on this machine: a loopback Tinker server over SmolLM2-135M-Instruct."""

from __future__ import annotations

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
