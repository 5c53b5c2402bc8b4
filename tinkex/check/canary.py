"""Canary numbers: log-probabilities of fixed prompts, by which weights are recognised later."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from tinkex._validation.field_docs import with_field_docs

if TYPE_CHECKING:
    from tinkex.sampling_client import SamplingClient

TOLERANCE: Final = 0.05
"""Mean distance up to which two readings count as the same weights: above what batching and bfloat16 change."""
_MINUS_INFINITY: Final = -9999.0
_FORMAT: Final = 1
# Ids that nearly every vocabulary has, and that are seldom control tokens.
_PROMPTS: Final = (
    (10, 17, 38, 73, 32, 95, 82, 83, 98, 37, 80, 47),
    (41, 52, 85, 50, 37, 46, 77, 40, 25, 32, 61, 22),
    (72, 85, 34, 99, 10, 37, 90, 79, 94, 45, 22, 25),
)


def canary_prompts() -> tuple[tuple[int, ...], ...]:
    """Return the prompts: 3 times 12 token ids from 10 to 99, the same in every release.

    >>> canary_prompts()[0]
    (10, 17, 38, 73, 32, 95, 82, 83, 98, 37, 80, 47)
    """
    return _PROMPTS


def _tokens(rows: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in rows)


def _numbers(rows: Iterable[Iterable[float | None]]) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(None if each is None or math.isnan(each) else float(each) for each in row) for row in rows)


@with_field_docs
@frozen
class Canary:
    """Log-probabilities of the tokens of some prompts under one model; None where there is none."""

    prompts: tuple[tuple[int, ...], ...] = field(converter=_tokens)
    """Their token ids."""
    logprobs: tuple[tuple[float | None, ...], ...] = field(converter=_numbers)
    """A number or None for each token of each prompt."""

    def __attrs_post_init__(self) -> None:
        if [len(row) for row in self.prompts] != [len(row) for row in self.logprobs]:
            raise ValueError("logprobs must have one number or None for each token of the prompts")

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object; minus infinity is -9999.0, as everywhere in tinkex."""
        rows = [[_MINUS_INFINITY if each == -math.inf else each for each in row] for row in self.logprobs]
        return {"prompts": [list(row) for row in self.prompts], "logprobs": rows}

    @classmethod
    def from_dict(cls, plain: Any) -> Canary:
        """Read what `to_dict` made; raises ValueError for anything else."""
        try:
            rows = [[-math.inf if each == _MINUS_INFINITY else each for each in row] for row in plain["logprobs"]]
            return cls([[int(token) for token in row] for row in plain["prompts"]], rows)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no canary numbers: {error!r}") from None


@with_field_docs
@frozen
class Comparison:
    """Distance between two readings of the same prompts: absolute differences of log-probabilities, in nats."""

    tokens: int
    """How many tokens were compared."""
    mean: float
    """The mean of the differences."""
    largest: float
    """The largest of them."""
    tolerance: float
    """The mean up to which the weights count as the same."""

    @property
    def same(self) -> bool:
        """Whether the mean is within the tolerance: by these numbers, the same weights."""
        return self.mean <= self.tolerance

    @property
    def identical(self) -> bool:
        """Whether no number differs in the first six digits after the point."""
        return self.largest < 1e-6

    def __str__(self) -> str:
        if self.identical:
            return f"all {self.tokens} log-probabilities are the same"
        return (
            f"{self.tokens} log-probabilities differ by {self.mean:.4f} on average and by up to {self.largest:.4f}"
            f" (same weights: up to {self.tolerance:g} on average)"
        )


def take_canary(
    client: SamplingClient, prompts: Sequence[Sequence[int]] | None = None, *, timeout: float | None = None
) -> Canary:
    """Ask a server for canary numbers, and wait for them; `prompts` default to `canary_prompts()`.

    Costs a request and one sampled token a prompt. Raises what `compute_logprobs` raises.
    """
    chosen = canary_prompts() if prompts is None else prompts
    futures = [client.compute_logprobs(prompt, timeout=timeout) for prompt in chosen]
    return Canary(chosen, [future.result() for future in futures])


def compare_canaries(before: Canary, now: Canary, *, tolerance: float = TOLERANCE) -> Comparison:
    """Compare two readings of the same prompts.

    A token of probability zero in one reading alone is an infinite distance. Raises ValueError where the prompts
    differ, or no token has a number in both.
    """
    if before.prompts != now.prompts:
        raise ValueError("the canary numbers are of other prompts, and cannot be compared")
    pairs = [
        (one, two)
        for rows in zip(before.logprobs, now.logprobs, strict=True)
        for one, two in zip(*rows, strict=True)
        if one is not None and two is not None
    ]
    if not pairs:
        raise ValueError("there is no log-probability to compare")
    apart = [0.0 if one == two else abs(one - two) for one, two in pairs]
    return Comparison(len(apart), math.fsum(apart) / len(apart), max(apart), tolerance)


def read_canaries(path: str | os.PathLike[str]) -> dict[str, Canary]:
    """Read a file of canary numbers, by the name they were kept under; empty where there is no file.

    Raises ValueError for a file that holds something else.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        plain = json.loads(text)
        if plain.get("format") != _FORMAT:
            raise ValueError(f"its format is {plain.get('format')!r}, not {_FORMAT}")
        return {str(name): Canary.from_dict(each) for name, each in plain["canaries"].items()}
    except (ValueError, AttributeError, KeyError) as error:
        raise ValueError(f"{os.fspath(path)} is no file of canary numbers: {error}") from None


def write_canaries(path: str | os.PathLike[str], canaries: Mapping[str, Canary]) -> None:
    """Write a file of canary numbers, replacing the one that is there in one step; links are removed, not followed."""
    whole = {"format": _FORMAT, "canaries": {name: each.to_dict() for name, each in sorted(canaries.items())}}
    target = pathlib.Path(path)
    new = target.with_name(target.name + ".new")
    new.unlink(missing_ok=True)
    with new.open("x", encoding="utf-8") as file:
        file.write(json.dumps(whole, indent=1) + "\n")
    new.replace(target)
