"""Sampling from logits, and scoring tokens by them."""

from __future__ import annotations
