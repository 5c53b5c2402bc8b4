"""Report data: an output file read once, in bounded memory."""

from __future__ import annotations
