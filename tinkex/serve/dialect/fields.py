"""Request bodies: fields are read one by one, and what is left over must be without effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from tinkex.chat.openai_format import HARMLESS_FIELDS, NEUTRAL_VALUES
from tinkex.serve.errors import GatewayError

_MOST_STOPS: Final = 1024
_MOST_COUNT: Final = 2**31 - 1


class BodyFields:
    """The fields of a request body that have not been read yet; null counts as not given.

    Each method takes a field out and checks its type. `close` refuses what is left, by its name.

    Raises:
        GatewayError: 400 with the name of the field.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._left = {name: value for name, value in body.items() if value is not None}

    def any(self, name: str) -> Any:
        """Return a field of any type, or None."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        """Return a text, or None."""
        value = self.any(name)
        if value is not None and not isinstance(value, str):
            raise refused(name, "must be a text")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value = self.any(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise refused(name, "must be true or false")
        return value

    def count(self, name: str, *, least: int = 0) -> int | None:
        """Return a whole number, or None."""
        value = self.any(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise refused(name, "must be a whole number")
        if not least <= value <= _MOST_COUNT:
            raise refused(name, f"must be from {least} to {_MOST_COUNT}, not {value}")
        return value

    def objects(self, name: str) -> list[dict[str, Any]] | None:
        """Return a list of objects, or None."""
        value = self.any(name)
        if value is None or (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
            return value
        raise refused(name, "must be a list of objects")

    def token_ids(self, name: str) -> list[int] | None:
        """Return a list of token ids, which may be empty, or None."""
        value = self.any(name)
        if value is None or is_token_ids(value):
            return value
        raise refused(name, f"must be a list of token ids, which are whole numbers from 0 to {_MOST_COUNT}")

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object; empty where it is not given."""
        value = self.any(name)
        if value is not None and not isinstance(value, dict):
            raise refused(name, "must be an object")
        return value or {}

    def stops(self) -> tuple[str, ...]:
        """Return the stop texts: a text, or a list of them, which may be empty."""
        given = self.any("stop")
        texts = [given] if isinstance(given, str) else [] if given is None else given
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            raise refused("stop", "must be a text or a list of texts")
        if len(texts) > _MOST_STOPS:
            raise refused("stop", f"must be at most {_MOST_STOPS} texts")
        return tuple(texts)

    def close(self, neutral: Mapping[str, Sequence[Any]] = NEUTRAL_VALUES) -> None:
        """Refuse what is left, unless it has no effect."""
        for name, value in self._left.items():
            if name not in HARMLESS_FIELDS and not any(_same(value, each) for each in neutral.get(name, ())):
                raise refused(name, "is not offered by this gateway", code="unsupported_parameter")


def is_token_ids(value: object) -> TypeGuard[list[int]]:
    """Whether a value is a list of token ids; it may be empty."""
    if not isinstance(value, list) or not set(map(type, value)) <= {int}:
        return False
    return not value or (min(value) >= 0 and max(value) <= _MOST_COUNT)


def _same(value: object, neutral: object) -> bool:
    """Whether a value is the neutral one; 0 is no false, and 1 no true."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def refused(name: str, problem: str, *, code: str | None = None) -> GatewayError:
    """Return the error for a field that is wrong, or asks for what cannot be had."""
    return GatewayError(400, f"{name} {problem}.", name, code)
