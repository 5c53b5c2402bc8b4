"""Bulk input: rows are read, checked, and become tasks."""

from __future__ import annotations
