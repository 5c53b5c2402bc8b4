"""Price tables: what tokens cost, for estimates."""

from __future__ import annotations

import json
import math
import os
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import attrs

from tinkex._validation.field_docs import with_field_docs
from tinkex._validation.text import decode_text

_MOST_UNPRICED: Final = 100


@with_field_docs
@attrs.frozen
class Price:
    """Prices of one model for a million tokens, in the currency of the table."""

    prompt: float = 0.0
    """Of a million prompt tokens."""
    sampled: float = 0.0
    """Of a million sampled tokens."""
    cached: float | None = None
    """Prompt tokens that the server had already; None for the price of all others."""
    context: int | None = None
    """Most tokens of prompt and answer together, for `estimate`; None where the table does not say."""
    tokens_per_second: float | None = None
    """How many the model samples, for all rows in flight together, for `estimate`; None where the table does not say.
    """


@with_field_docs
@attrs.frozen
class Prices:
    """A price table: model names to prices; the name "*" stands for all others.

    The price of weights that are named with their base model, as NAME+PATH, is that of the weights, or else that of the
    base model.

    >>> prices = Prices.from_dict({"Qwen/Qwen3-8B": {"prompt": 0.1, "sampled": 0.4}})
    >>> prices.cost("Qwen/Qwen3-8B", prompt_tokens=1_000_000, sampled_tokens=500_000)
    0.3
    """

    by_model: Mapping[str, Price]
    """The price of each model, by its name."""

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
        base, _, path = model.partition("+tinker://")
        names = (model, f"tinker://{path}", base, "*") if path else (model, "*")
        return next((self.by_model[name] for name in names if name in self.by_model), None)

    def cost(
        self, model: str, *, prompt_tokens: int, sampled_tokens: int, prompt_cache_hit_tokens: int = 0
    ) -> float | None:
        """What so many tokens cost; None for a model that the table has no price for.

        Of a prompt no more tokens are cached than it has, though servers count them once for each of its samples.
        """
        price = self.of(model)
        if price is None:
            return None
        hits = min(prompt_cache_hit_tokens, prompt_tokens)
        cached = price.prompt if price.cached is None else price.cached
        return ((prompt_tokens - hits) * price.prompt + hits * cached + sampled_tokens * price.sampled) / 1e6


@attrs.define
class Bill:
    """Sum of costs by a price table, and the models that it has no price for: what is unknown is not free."""

    prices: Prices | None
    _sum: float | None = None
    _unpriced: dict[str, None] = attrs.field(factory=dict)

    def add(self, model: str, usage: Mapping[str, int]) -> None:
        """Add what so many tokens of a model cost."""
        if self.prices is None:
            return
        cost = self.prices.cost(model, **usage)
        if cost is not None:
            self._sum = (self._sum or 0.0) + cost
        elif len(self._unpriced) < _MOST_UNPRICED:
            self._unpriced[model] = None

    @property
    def cost(self) -> float | None:
        """The sum, without models that have no price; None without a table, and where no model had a price."""
        return self._sum if self._sum is not None or self.prices is None or self._unpriced else 0.0

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models whose tokens are not in it, since the table has no price for them."""
        return tuple(self._unpriced)


def _price(name: str, row: Any) -> Price:
    known = [field.name for field in attrs.fields(Price)]
    if not isinstance(row, Mapping) or not set(row) <= set(known):
        raise ValueError(f"the price of {name!r} must be a table with any of {', '.join(known)}")
    for key, value in row.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{key} of {name!r} must be a number of at least 0, not {value!r}")
    if row.get("tokens_per_second") == 0:
        raise ValueError(f"tokens_per_second of {name!r} must be more than 0")
    return Price(**row)
