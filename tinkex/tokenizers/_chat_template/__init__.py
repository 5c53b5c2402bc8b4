"""Render conversations with a model's chat template."""

from __future__ import annotations
