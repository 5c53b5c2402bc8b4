"""HTTP server of the Tinker sampling protocol on top of a pluggable engine; needs aiohttp."""

from __future__ import annotations

from tinkex._server.app import ROUTES, make_app
from tinkex._server.engine import AsyncEngine, BlockingEngine, EngineError
from tinkex._server.options import PRESETS, ServerOptions

__all__ = ["PRESETS", "ROUTES", "AsyncEngine", "BlockingEngine", "EngineError", "ServerOptions", "make_app"]
