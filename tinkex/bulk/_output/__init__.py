"""Bulk output: the ledger of finished rows, and the forms that rows are written in."""

from __future__ import annotations
