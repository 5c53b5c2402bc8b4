"""Reading of batch outputs: rows as typed results, and tables for data-frame libraries."""

from __future__ import annotations
