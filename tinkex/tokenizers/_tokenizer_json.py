"""Load ``tokenizer.json`` files; the only importer of the tokenizers library."""

from __future__ import annotations

import pathlib

from tinkex.tokenizers._adapters import LoadedTokenizer
from tinkex.tokenizers._chat_files import FileSource
from tinkex.tokenizers.errors import TokenizerError, TokenizerExtraError


def load_json(name: str, file: pathlib.Path, source: FileSource) -> LoadedTokenizer:
    """Load a ``tokenizer.json``, which alone decides about special tokens, whatever files stand beside it.

    *source* has the files that stand beside it, which tell how a conversation is written.
    """
    try:
        import tokenizers
    except ImportError:
        raise TokenizerExtraError(
            f"The tokenizer of {name} needs an extra. Run: pip install 'tinkex[tokenizers]'"
        ) from None
    try:
        inner = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(f"The tokenizer of {name} cannot be read from {file}: {error}") from error
    inner.no_truncation()  # left over from training in some files: a prompt is never cut or filled up
    inner.no_padding()
    return LoadedTokenizer(name, inner, source)
