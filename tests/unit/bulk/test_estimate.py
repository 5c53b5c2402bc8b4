"""What a run would take, and the table of prices."""

from __future__ import annotations

import pytest

from tinkex import bulk


class Letters:
    """A tokenizer with a token a character."""

    def encode(self, text):
        return [ord(character) for character in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


MODELS = bulk.Models(("a", "b"), bulk.tokenizer_only, Letters())
PRICES = {"a": {"prompt": 1.0, "sampled": 10.0, "context": 20, "tokens_per_second": 2}, "*": {"prompt": 2.0}}


def test_estimate():
    """Tokens, cost and time are counted for each row and model; rows over the window of one model are found."""
    rows = [{"prompt": "12345"}, {"prompt": "x" * 15, "num_samples": 2}, {"prompt": ""}]
    found = bulk.estimate(rows, MODELS, prices=bulk.Prices.from_dict(PRICES), max_tokens=10)
    assert (found.rows, found.tasks, found.invalid, found.too_long, found.window_known) == (3, 6, 2, 1, False)
    assert (found.prompt_tokens, found.most_sampled_tokens) == (5 + 5 + 15, 10 + 10 + 20)
    assert found.cost == pytest.approx((5 * 1 + 10 * 10 + (5 + 15) * 2) / 1e6)
    assert found.seconds == 5
    assert found.longest == (25, "line 2")


def test_limits_take_time():
    """The slowest of the limits tells how long it takes; without any, nobody knows."""
    rows = [{"prompt": "12345"}] * 10
    one = bulk.Models(("a",), bulk.tokenizer_only, Letters())
    assert bulk.estimate(rows, one, max_tokens=5).seconds is None
    limits = bulk.Limits(requests_per_minute=20, tokens_per_minute=100)
    assert bulk.estimate(rows, one, max_tokens=5, limits=limits).seconds == 60


def test_cached_tokens_have_a_price_of_their_own():
    """Prompt tokens that the server had are paid as such where the table says so, else like all others."""
    prices = bulk.Prices.from_dict({"a": {"prompt": 1.0, "cached": 0.1}, "b": {"prompt": 1.0}})
    tokens = {"prompt_tokens": 10, "sampled_tokens": 0, "prompt_cache_hit_tokens": 5}
    assert prices.cost("a", **tokens) == pytest.approx(5.5e-6)
    assert prices.cost("b", **tokens) == pytest.approx(1e-5)
    assert prices.cost("unknown", **tokens) is None


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ([1], "maps"), ({"a": 1}, "'a'"), ({"a": {"promt": 1}}, "prompt"), ({"a": {"prompt": -1}}, "prompt of 'a'"),
        ({"a": {"prompt": True}}, "prompt of 'a'"), ({"a": {"tokens_per_second": 0}}, "tokens_per_second"),
    ],
)  # fmt: skip
def test_wrong_tables(table, word):
    """A mistake in the table is named."""
    with pytest.raises((TypeError, ValueError), match=word):
        bulk.Prices.from_dict(table)


def test_files(tmp_path):
    """A table is read from TOML or JSON; an error names the file."""
    (tmp_path / "p.toml").write_text('["a"]\nprompt = 1.5\n')
    (tmp_path / "p.json").write_text('{"a": {"prompt": 1.5}}')
    assert bulk.Prices.read(tmp_path / "p.toml") == bulk.Prices.read(tmp_path / "p.json")
    (tmp_path / "bad.toml").write_text("prompt = ")
    with pytest.raises(ValueError, match=r"bad\.toml"):
        bulk.Prices.read(tmp_path / "bad.toml")
