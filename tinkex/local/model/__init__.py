"""Model runtimes: GGUF files, weights, and the forward pass."""

from __future__ import annotations
