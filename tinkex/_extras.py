"""Says which extra to install where a module that it brings is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tinkex.errors import MissingExtraError


@contextlib.contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Import inside this what only comes with the extra `name`; `what` needs it. Raises MissingExtraError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, MissingExtraError) or (error.name or "").partition(".")[0] == "tinkex":
            raise
        raise MissingExtraError(
            f"{what} needs {error.name}, which is not installed. Run: pip install 'tinkex[{name}]'"
        ) from error
