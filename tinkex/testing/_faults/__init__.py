"""Fault injection for the fake server."""

from __future__ import annotations
