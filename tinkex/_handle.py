"""Old import path of the sampler handle, which pickles of version 0.1.0 name."""

from __future__ import annotations

from tinkex._service.handle import Handle

__all__ = ["Handle"]
