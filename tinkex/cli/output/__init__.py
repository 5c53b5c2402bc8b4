"""Terminal output: tables, texts, tokens, JSON."""

from __future__ import annotations
