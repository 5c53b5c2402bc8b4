"""Token table of a vocabulary in a GGUF file: texts, special tokens, end-of-generation tokens.

Defaults for keys that a file leaves out are those of llama.cpp's vocabulary loader; two of its guesses are not made
(token 11 as BOS and EOS): a missing EOS ends nothing, and a missing BOS that is needed is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import GgufFile

_UNKNOWN, _CONTROL, _USER_DEFINED = _UNUSUAL = 2, 3, 4
#: Tokens that end an answer, by their text.
_END_TEXTS = frozenset(
    {"<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>"}
    | {"<|return|>", "<|call|>", "<EOT>", "_<EOT>", "<end_of_utterance>", "<\uff5cend\u2581of\u2581sentence\uff5c>"}
)
#: Tokens of code completion that end an answer, by their key and by their texts where the key is missing.
_FILL_TEXTS: Mapping[str, frozenset[str]] = {
    "fim_pad": frozenset({"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>"}),
    "fim_rep": frozenset({"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}),
    "fim_sep": frozenset({"<|file_sep|>"}),
}
#: Texts of gpt-oss that are words of its format, not controls; `<|end|>` ends a message there, not an answer.
_HARMONY_TEXTS = frozenset({"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"})
_HARMONY_ENDS = frozenset({"<|return|>", "<|call|>", "<|end|>"})


class Vocabulary:
    """Token table: texts, special tokens, and the tokens that end an answer.

    Immutable; safe to share between threads.

    Raises:
        LocalError: A key that is needed is missing or wrong; the message names it.
    """

    def __init__(self, model: GgufFile) -> None:
        kind = model.require("tokenizer.ggml.model")
        if kind != "gpt2":
            raise LocalError(f"{model.path} has a vocabulary of the kind {kind!r}; only byte-level ones are read.")
        texts: list[str] = model.require("tokenizer.ggml.tokens")
        if "" in texts:
            texts = [text or f"[EMPTY_{token}]" for token, text in enumerate(texts)]
        self.texts: list[str] = texts
        #: The token of each text.
        self.ids: dict[str, int] = dict(zip(texts, range(len(texts)), strict=True))
        if len(self.ids) != len(self.texts):
            raise LocalError(f"{model.path} has the same text twice in tokenizer.ggml.tokens.")
        kinds = model.metadata.get("tokenizer.ggml.token_type") or [1] * len(self.texts)
        if len(kinds) != len(self.texts):
            raise LocalError(f"{model.path} has {len(kinds)} tokenizer.ggml.token_type for {len(self.texts)} tokens.")
        ends = set(self._end_ids(model))
        unusual = [(token, kind) for token, kind in enumerate(kinds) if kind in _UNUSUAL]
        controls = {token for token, kind in unusual if kind == _CONTROL} | ends
        words = {token for token, kind in unusual if kind != _CONTROL}
        words |= set(self._known(_HARMONY_TEXTS))
        if self.ids.keys() >= _HARMONY_ENDS:
            words.add(self.ids["<|end|>"])
            ends.remove(self.ids["<|end|>"])
        #: Special tokens, and whether each is a control token rather than a word that is never split.
        self.special: dict[int, bool] = {token: token not in words for token in sorted(controls | words)}
        self.end_ids: frozenset[int] = frozenset(ends)

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

    def special_id(self, model: GgufFile, name: str) -> int | None:
        """The id in the file's `tokenizer.ggml.<name>_token_id`; None where the key is missing."""
        key = f"tokenizer.ggml.{name}_token_id"
        token: int | None = model.metadata.get(key)
        if token is not None and not 0 <= token < len(self.texts):
            raise LocalError(f"{model.path} has {key} {token}, but only {len(self.texts)} tokens.")
        return token

    def _known(self, texts: Iterable[str]) -> Iterable[int]:
        return (self.ids[text] for text in texts if text in self.ids)

    def _end_ids(self, model: GgufFile) -> Iterable[int]:
        yield from self._known(_END_TEXTS)
        for name in ("eos", "eot", "eom"):
            token = self.special_id(model, name)
            if token is not None:
                yield token
        for name, texts in _FILL_TEXTS.items():
            token = self.special_id(model, name)
            yield from self._known(texts) if token is None else (token,)


def _letters() -> dict[str, int]:
    """The letter that stands for each byte: itself where it is visible, else one from 256 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_BYTES = _letters()
