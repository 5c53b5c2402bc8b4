"""Statistics of an output file, gathered in one pass and bounded memory."""

from __future__ import annotations
