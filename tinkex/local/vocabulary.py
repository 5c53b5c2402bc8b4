"""Token table of a byte-level vocabulary in a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import GgufFile

_CONTROL = 3
_SPECIAL = (_CONTROL, 4)
#: Names of tokens that end an answer, in the model families that use byte-level vocabularies.
_END_NAMES = frozenset(
    {"<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<end_of_turn>", "<|end|>"}
)


class Vocabulary:
    """Token table: token texts, special tokens, and end-of-generation tokens.

    Immutable; safe to share between threads.
    """

    def __init__(self, model: GgufFile) -> None:
        metadata = model.metadata
        kind = metadata.get("tokenizer.ggml.model")
        if kind != "gpt2":
            raise LocalError(f"{model.path} has a vocabulary of the kind {kind!r}; only byte-level ones are read.")
        self.texts: list[str] = metadata["tokenizer.ggml.tokens"]
        kinds = metadata.get("tokenizer.ggml.token_type") or [1] * len(self.texts)
        #: Special tokens, and whether each is a control token rather than a word that is never cut.
        self.special = {token: kind == _CONTROL for token, kind in enumerate(kinds) if kind in _SPECIAL}
        self.end_ids = frozenset(_end_ids(metadata, self.texts, self.special))

    def __len__(self) -> int:
        return len(self.texts)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to a text; a special token adds its name."""
        text = self.texts[token]
        if token in self.special:
            return text.encode()
        try:
            return bytes([_BYTES[letter] for letter in text])
        except KeyError:
            return text.encode()


def _end_ids(metadata: Mapping[str, Any], texts: list[str], special: Mapping[int, bool]) -> set[int]:
    named = {token for token in special if texts[token] in _END_NAMES}
    known = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
    return named | {token for token in known if token is not None}


def _letters() -> dict[str, int]:
    """The letter that stands for each byte: itself where it is visible, else one from 256 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_BYTES = _letters()
