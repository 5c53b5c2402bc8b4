"""OpenAI-compatible gateway: programs that speak OpenAI's API, or vLLM's dialect of it, sample through tinkex.

Install with ``pip install tinkex[serve]``.
"""

from __future__ import annotations

from tinkex.errors import extra

with extra("serve", "tinkex.serve"):
    from tinkex.serve.app import make_app
    from tinkex.serve.gateway import Gateway

__all__ = ["Gateway", "make_app"]
