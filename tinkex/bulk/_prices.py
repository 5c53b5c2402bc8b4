"""Price tables: what tokens cost, for estimates."""

from __future__ import annotations

import json
import os
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

import attrs

from tinkex._validation.text import decode_text


@attrs.frozen
class Price:
    """Prices of one model for a million tokens, in the currency of the table."""

    prompt: float = 0.0
    sampled: float = 0.0
    cached: float | None = None
    """Prompt tokens that the server had already; None for the price of all others."""
    context: int | None = None
    """Most tokens of prompt and answer together, for `estimate`; None where the table does not say."""
    tokens_per_second: float | None = None
    """How many the model samples, for all rows in flight together, for `estimate`; None where the table does not say.
    """


@attrs.frozen
class Prices:
    """A price table: model names to prices; the name "*" stands for all others.

    >>> prices = Prices.from_dict({"Qwen/Qwen3-8B": {"prompt": 0.1, "sampled": 0.4}})
    >>> prices.cost("Qwen/Qwen3-8B", prompt_tokens=1_000_000, sampled_tokens=500_000)
    0.3
    """

    by_model: Mapping[str, Price]

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Prices:
        """Take a table of tables; ValueError names what is wrong in it."""
        if not isinstance(table, Mapping):
            raise TypeError("A price table maps model names to prices.")
        return cls({name: _price(name, row) for name, row in table.items()})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Prices:
        """Read a TOML or JSON file; ValueError names what is wrong in it."""
        try:
            text = decode_text(pathlib.Path(path).read_bytes())
            return cls.from_dict(json.loads(text) if str(path).endswith(".json") else tomllib.loads(text))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None

    def of(self, model: str) -> Price | None:
        """The price of a model; None where the table has none."""
        return self.by_model.get(model) or self.by_model.get("*")

    def cost(self, model: str, *, prompt_tokens: int, sampled_tokens: int, prompt_cache_hit_tokens: int = 0) -> float:
        """What so many tokens cost; 0 for a model that the table does not know."""
        price = self.of(model)
        if price is None:
            return 0.0
        cached = price.prompt if price.cached is None else price.cached
        fresh = prompt_tokens - prompt_cache_hit_tokens
        return (fresh * price.prompt + prompt_cache_hit_tokens * cached + sampled_tokens * price.sampled) / 1e6


def _price(name: str, row: Any) -> Price:
    known = [field.name for field in attrs.fields(Price)]
    if not isinstance(row, Mapping) or not set(row) <= set(known):
        raise ValueError(f"the price of {name!r} must be a table with any of {', '.join(known)}")
    for key, value in row.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise ValueError(f"{key} of {name!r} must be a number of at least 0, not {value!r}")
    if row.get("tokens_per_second") == 0:
        raise ValueError(f"tokens_per_second of {name!r} must be more than 0")
    return Price(**row)
