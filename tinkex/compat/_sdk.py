"""The official SDK: imported with the first use, and checked to be it."""

from __future__ import annotations

import functools
import warnings
from typing import Any

from tinkex.errors import MissingExtraError

TESTED = ("0.38.0",)


@functools.cache
def official() -> Any:
    """The package `tinker`, if it is the official SDK; one warning where it is of a version that was not tested.

    Raises:
        MissingExtraError: It is not installed.
        ImportError: Another package of that name is.
    """
    try:
        import tinker
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"tinkex.compat needs the official SDK, which is not installed. Run: pip install tinker=={TESTED[-1]}"
        ) from error
    title, version = (getattr(tinker, name, None) for name in ("__title__", "__version__"))
    if title != "tinker":
        raise ImportError(
            f"tinkex.compat needs the official SDK, but the package tinker that is installed belongs to {title}."
            f" In an environment without it, run: pip install tinker=={TESTED[-1]}"
        )
    if version not in TESTED:
        warnings.warn(
            f"tinkex.compat was tested with tinker {' and '.join(TESTED)}; {version} is installed, of which it is not"
            " known whether its types and methods are the same.",
            stacklevel=2,
        )
    return tinker
