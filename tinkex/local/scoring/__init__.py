"""Sampling from logits, and scoring tokens by them."""
