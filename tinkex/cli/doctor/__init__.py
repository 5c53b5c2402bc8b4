"""``tinkex doctor``: goes the way of a sample step by step, and says where and why it ends."""

from __future__ import annotations

from tinkex.cli.doctor._command import command

__all__ = ["command"]
