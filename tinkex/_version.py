"""Who this client says it is."""

from __future__ import annotations

__version__ = "0.1.0"
PROTOCOL_VERSION = "0.38.0"
"""The official SDK version whose protocol is spoken; the server picks its flags by it."""
USER_AGENT = f"tinkex-python/{__version__}"
