"""Read JSON as its standard has it, where Python's reader would let something pass or lose it."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def strict_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is none, nests too deeply, or has a name twice in an object, NaN or a number out of range.
    """
    try:
        return _STRICT.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; one whose names come twice says two things, of which neither can be chosen."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in made if names.count(name) > 1)!r} comes twice")
    return made


def _float(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _constant(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=unique, parse_float=_float, parse_constant=_constant)
