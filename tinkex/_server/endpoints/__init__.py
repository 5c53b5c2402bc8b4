"""The endpoints of the server, by area."""

from __future__ import annotations
