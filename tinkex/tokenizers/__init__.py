"""Load and adapt tokenizers: from a model name, a file on disk, or an object of another library.

Names and ``tokenizer.json`` files need the ``tokenizers`` extra; an object that has ``encode`` and ``decode`` needs
nothing. Only data files are read: code that comes with a model is never run.
"""

from __future__ import annotations

from tinkex.tokenizers._adapters import Tokenizer
from tinkex.tokenizers._decoding import text_decoder, token_runs
from tinkex.tokenizers._find import get_tokenizer, model_tokenizer, tokenizer_at_hand, tokenizer_repository
from tinkex.tokenizers._pieces import TokenPieces
from tinkex.tokenizers.errors import ChatTemplateError, TokenizerError

__all__ = [
    "ChatTemplateError",
    "TokenPieces",
    "Tokenizer",
    "TokenizerError",
    "get_tokenizer",
    "model_tokenizer",
    "text_decoder",
    "token_runs",
    "tokenizer_at_hand",
    "tokenizer_repository",
]


def __dir__() -> list[str]:
    return sorted(__all__)
