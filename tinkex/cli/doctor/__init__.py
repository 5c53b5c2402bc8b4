"""Diagnostics, ``tinkex doctor``: goes the way of a sample step by step, and says where and why it ends."""

from __future__ import annotations

from tinkex.cli.doctor.steps import command

__all__ = ["command"]
