"""Request recording and protocol checks of the fake server."""

from __future__ import annotations
