"""Every number that a server sends has a floor and a ceiling."""

from __future__ import annotations

import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._api import limits
from tinkex._api.auth import _Token
from tinkex._api.flags import Flags
from tinkex._api.responses import retry_after
from tinkex.credentials import JwtClaims
from tinkex.testing import ManualClock

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "errors.rst").read_text()
LIMITS = {name: value for name, value in vars(limits).items() if isinstance(value, limits.Limit)} | limits.FLAGS


@given(st.sampled_from(sorted(LIMITS)), st.floats() | st.integers() | st.sampled_from([10**400, -(10**400)]))
def test_a_number_is_kept_within_its_limits(name, number):
    """Whatever number it is, infinite or none at all, it ends up between floor and ceiling, and unchanged if it was."""
    limit = LIMITS[name]
    kept = limit.apply(number)
    assert limit.floor <= kept <= limit.ceiling
    assert kept == number or not limit.floor <= number <= limit.ceiling


def test_flags_that_are_numbers_have_limits():
    """Each flag that is a number is in the table, and its default within its limits."""
    defaults = {name: getattr(Flags(), name) for name in Flags.__annotations__}
    numbers = {name: default for name, default in defaults.items() if type(default) in (int, float)}
    assert numbers.keys() == limits.FLAGS.keys()
    for name, default in numbers.items():
        assert limits.FLAGS[name].apply(default) == default


@pytest.mark.parametrize(
    ("name", "floor", "ceiling"),
    re.findall(r"^   \* - .*\n     - ``(\w+)``\n     - (.+)\n     - (.+)$", PAGE, flags=re.MULTILINE),
)
def test_the_page_names_the_limits(name, floor, ceiling):
    """The table of the documentation says what the code does."""
    units = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "TiB": 2**40}
    units |= {"million": 10**6, "thousand million": 10**9, "": 1}
    limit = LIMITS[name]
    for told, number_in_code in ((floor, limit.floor), (ceiling, limit.ceiling)):
        number, _, unit = told.partition(" ")
        assert float(number) * units[unit] == number_in_code


def test_the_page_has_all_limits():
    """Each limit has its row."""
    assert set(re.findall(r"^     - ``(\w+)``$", PAGE, flags=re.MULTILINE)) >= LIMITS.keys()


@pytest.mark.parametrize("form", ["retry-after", "retry-after-ms"])
@given(told=st.floats().map(str) | st.text() | st.datetimes().map("{:%a, %d %b %Y %H:%M:%S GMT}".format))
def test_retry_after_in_any_form(form, told):
    """Seconds, milliseconds, a date or nonsense: it is a time of a day at most, or none."""
    seconds = retry_after({form: told}, ManualClock())
    assert seconds is None or 0.0 <= seconds <= 86_400.0


@given(st.floats(allow_nan=False) | st.none(), st.floats(allow_nan=False) | st.none())
def test_the_life_of_a_token(monkeypatch_claims, ends, made):
    """However soon, or late, a token says it ends, it is used for ten seconds, and replaced within a month."""
    monkeypatch_claims(JwtClaims(ends, made))
    clock = ManualClock()
    token = _Token("eyJ.x.y", clock)
    assert token.ends_at == float("inf") or 10.0 <= token.ends_at - clock.monotonic() <= 30 * 86_400.0
    assert token.refresh_after is None or 4.5 <= token.refresh_after <= 30 * 86_400.0


@pytest.fixture(scope="module")
def monkeypatch_claims():
    """Makes the next token claim what a test says."""
    with pytest.MonkeyPatch.context() as patch:
        yield lambda claims: patch.setattr("tinkex._api.auth.parse_claims", lambda text: claims)
