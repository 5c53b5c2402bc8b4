"""Pre-tokenizers: how text is split into words before byte pairs are merged, by the name in `tokenizer.ggml.pre`.

Names, expressions and defaults are those of llama.cpp's vocabulary loader, as built into ik-llama-cpp-python 0.1.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

_ENDINGS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_LLAMA3 = rf"{_ENDINGS}|{_LETTERS}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN2 = rf"{_ENDINGS}|{_LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_SEED_CODER = rf"{_ENDINGS}|{_LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDINGS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDINGS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_SIGNS = r"[\p{P}\p{S}&&[^~]]"  # llama.cpp's table of symbols lacks the tilde
_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
    rf"|(?:(?!{_SIGNS})[^\r\n\p{{L}}])?[\p{{L}}\p{{M}}]+| ?{_SIGNS}+[\r\n]*|{_SPACES}"
)
_KANJI_KANA = "[\u4e00-\u9fa5\u3040-\u30ff]+"
_CJK = "[[\u0800-\u9fa5\uac00-\ud7ff]&&[^\\s]]+"
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"


@frozen
class PreTokenizer:
    """Splitting rule: each expression splits what the ones before it have left.

    *add_bos* is whether a text begins with the BOS token where the file does not say; *whole_words* is whether a word
    that is a token itself is taken whole, without merging.
    """

    patterns: tuple[str, ...]
    add_bos: bool = False
    whole_words: bool = False

    def build(self) -> Any:
        """The rule as an object of the `tokenizers` package."""
        from tokenizers import Regex, pre_tokenizers

        splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in self.patterns]
        return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _named(names: str, rule: PreTokenizer) -> Iterable[tuple[str, PreTokenizer]]:
    return ((name, rule) for name in names.split())


PRE_TOKENIZERS: Mapping[str, PreTokenizer] = dict(
    [
        *_named("default", PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))),
        *_named(
            "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
            PreTokenizer((_LLAMA3,), add_bos=True, whole_words=True),
        ),
        *_named("dbrx smaug-bpe glm4 chatglm-bpe", PreTokenizer((_LLAMA3,))),
        *_named("tekken", PreTokenizer((_TEKKEN,), add_bos=True, whole_words=True)),
        *_named("gpt-4o llama4 minimax-m2", PreTokenizer((_GPT4O,))),
        *_named(
            "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez grok-2 bailingmoe bailingmoe2 llada-moe",
            PreTokenizer((_QWEN2,)),
        ),
        *_named("seed-coder", PreTokenizer((_SEED_CODER,))),
        *_named(
            "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum"
            " jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code roberta-bpe",
            PreTokenizer((_GPT2,)),
        ),
        *_named("smollm starcoder refact command-r codeshell exaone minerva-7b", PreTokenizer((r"\p{N}", _GPT2))),
        *_named("falcon", PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"))),
        *_named("deepseek-v3 hunyuan-dense", PreTokenizer((r"\p{N}{1,3}", _KANJI_KANA, _DEEPSEEK3))),
        *_named("deepseek-coder", PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}"))),
        *_named("poro-chat bloom gpt3-finnish", PreTokenizer((_BLOOM,))),
        *_named("viking", PreTokenizer((_BLOOM, r"\p{N}"))),
    ]
)
"""The rules by name."""
