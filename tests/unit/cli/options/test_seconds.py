"""Durations on the command line."""

from __future__ import annotations

import math

import click
import pytest

from tinkex.cli.options.seconds import Seconds


@pytest.mark.parametrize(
    ("kind", "text", "seconds"),
    [
        (Seconds(), "0.5", 0.5),
        (Seconds(), "1e9", 1e9),
        (Seconds(zero=True), "0", 0.0),
        (Seconds(endless=True), "inf", math.inf),
        (Seconds(endless=True), "2", 2.0),
    ],
)
def test_durations(kind, text, seconds):
    """What a timer takes is taken; where there may be none, "inf" too."""
    assert kind.convert(text, None, None) == seconds


@pytest.mark.parametrize("kind", [Seconds(), Seconds(zero=True), Seconds(endless=True)])
@pytest.mark.parametrize("text", ["-1", "nan", "1e400", "-inf", "1e10", "soon"])
def test_what_is_no_duration(kind, text):
    """A number that overflows is not endless, and what no timer takes is refused."""
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


@pytest.mark.parametrize(("kind", "text"), [(Seconds(), "0"), (Seconds(), "inf"), (Seconds(zero=True), "inf")])
def test_ends_of_the_range(kind, text):
    """Nothing and for ever are durations only where the option says so."""
    with pytest.raises(click.BadParameter, match="not in the range"):
        kind.convert(text, None, None)
