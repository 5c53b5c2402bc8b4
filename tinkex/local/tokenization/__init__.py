"""Vocabulary and tokenizer of a GGUF file."""

from __future__ import annotations
