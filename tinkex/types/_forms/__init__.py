"""Representations of values: number columns, JSON, conversations."""

from __future__ import annotations
