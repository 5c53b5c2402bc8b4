"""Protocol checks of the fake server, and its control from another process."""

from __future__ import annotations
