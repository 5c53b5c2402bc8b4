"""JSON codec of bytes; orjson does the heavy parts where it is installed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

MOST_JSON_GROWTH = 257
"""The most that `json_object_bytes` gives for a byte."""
_LARGE = 4096  # numbers, or bytes: what orjson is worth loading for, which takes as long as a sample
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@cache
def _orjson() -> Any:
    try:
        return importlib.import_module("orjson")
    except ImportError:
        return None


def encode_json(value: object) -> bytes:
    """Return compact JSON.

    Raises:
        TypeError: Something in it has no JSON form.
        ValueError: It holds NaN or an infinity, or itself.
    """
    return _ENCODER.encode(value).encode()


def encode_ints(numbers: Sequence[int]) -> bytes:
    """Return plain ints as a JSON list, several times as fast as `json` makes it."""
    if len(numbers) >= _LARGE and (orjson := _orjson()) is not None:
        return orjson.dumps(numbers)  # type: ignore[no-any-return]
    if not numbers:
        return b"[]"
    return (b"[" + b"%d," * (len(numbers) - 1) + b"%d]") % tuple(numbers)


def is_json_object(data: bytes | bytearray) -> bool:
    """Whether it is an object in JSON."""
    try:
        return isinstance(decode_json(data), dict)
    except ValueError:
        return False


def json_object_bytes(data: bytes | bytearray) -> int:
    """Estimate the memory that the value of a JSON text takes, from its commas and brackets, without reading it."""
    return len(data) + 96 * data.count(b"[") + 256 * data.count(b"{") + 32 * data.count(b",")


def decode_json(data: bytes | bytearray) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is not JSON, or is nested too deeply to read.
    """
    if len(data) >= _LARGE and (orjson := _orjson()) is not None:
        try:
            return orjson.loads(data)
        except ValueError:
            pass  # json also reads NaN and lone surrogates, which some servers send
    try:
        return json.loads(data)
    except RecursionError:
        wrong = "the JSON is nested too deeply"
    except UnicodeDecodeError:
        wrong = "it is not text"
    except ValueError as error:
        wrong = str(error)
    raise ValueError(wrong)  # out here: the original, which holds the whole text, is not to travel along
