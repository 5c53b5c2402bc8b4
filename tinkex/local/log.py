"""The logger `tinkex.local`, and warnings that are given once a process."""

from __future__ import annotations

import functools
import logging

logger: logging.Logger = logging.getLogger("tinkex.local")


@functools.cache
def warn_once(text: str) -> None:
    """Log a warning, unless this process has logged it before."""
    logger.warning(text)
