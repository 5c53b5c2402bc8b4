"""JSON form of results: readers and writers."""

from __future__ import annotations
