"""Where pickles of version 0.1.0 look for the sampler handle."""

from __future__ import annotations

from tinkex._service.handle import Handle

__all__ = ["Handle"]
