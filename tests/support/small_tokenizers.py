"""Tokenizers of a few tokens, of the kinds that models have; they need the tokenizers package."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

END, TOOL = "<|end|>", "<tool>"


def byte_level():
    """A byte-level vocabulary, as of GPT-2, Llama 3 and Qwen: the fox is made of four tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return _with_added(made)


def sentencepiece():
    """A vocabulary as SentencePiece makes it, as of Llama 2: spaces in the pieces, and bytes for what it lacks."""
    words = ["▁true", "true", "▁yes", "▁", "▁▁", "é"]
    pieces = [*words, *(f"<0x{byte:02X}>" for byte in range(256))]
    made = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [], byte_fallback=True))
    fuse, strip = decoders.Fuse(), decoders.Strip(" ", 1, 0)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), fuse, strip])
    return _with_added(made)


def word_piece():
    """A vocabulary as BERT's: pieces that go on a word are marked, and words are set apart."""
    pieces = ["play", "##ing", "well", "!", "[UNK]"]
    made = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.decoder = decoders.WordPiece()
    return _with_added(made)


def _with_added(tokenizer):
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    tokenizer.add_tokens([TOOL])
    return tokenizer
