"""Vocabulary and tokenizer of a GGUF file."""
