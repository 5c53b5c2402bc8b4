"""Batch output: the ledger of finished rows, and the formats that rows are written in."""

from __future__ import annotations
