"""Canary numbers: which prompts, how readings are compared, and the file that keeps them."""

from __future__ import annotations

import json
import math

import pytest

from tinkex.check.canary import (
    TOLERANCE,
    Canary,
    canary_prompts,
    compare_canaries,
    read_canaries,
    take_canary,
    write_canaries,
)  # fmt: skip

PROMPTS = ((5, 6, 7), (8, 9))


def reading(*numbers):
    """Canary numbers of the small prompts: of all tokens but the first ones."""
    return Canary(PROMPTS, [[None, *numbers[:2]], [None, numbers[2]]])


class Scores:
    """Client that scores a prompt by a function of each token."""

    def __init__(self, score):
        self.score = score
        self.timeouts = []

    def compute_logprobs(self, prompt, *, timeout=None):
        self.timeouts.append(timeout)
        return Ready([None, *map(self.score, prompt[1:])])


class Ready:
    """Future with a result."""

    def __init__(self, value):
        self.value = value

    def result(self):
        return self.value


def test_prompts():
    """The prompts are small ids, and no two begin alike."""
    assert {len(prompt) for prompt in canary_prompts()} == {12}
    assert {token for prompt in canary_prompts() for token in prompt} <= set(range(10, 100))
    assert len({prompt[0] for prompt in canary_prompts()}) == len(canary_prompts())


def test_take():
    """Each prompt is scored once, within the timeout."""
    client = Scores(lambda token: -token / 8)
    taken = take_canary(client, timeout=3.0)
    assert taken.prompts == canary_prompts()
    assert taken.logprobs[0][:3] == (None, -17 / 8, -38 / 8)
    assert client.timeouts == [3.0] * 3
    assert take_canary(client, PROMPTS).prompts == PROMPTS


@pytest.mark.parametrize(
    ("numbers", "same", "identical"),
    [
        ((-1.0, -2.0, -3.0), True, True),
        ((-1.0, -2.0, -3.0 - 2e-7), True, True),
        ((-1.0, -2.0, -3.0 + 2 * TOLERANCE), True, False),
        ((-1.0, -2.0, -3.0 - 4 * TOLERANCE), False, False),
        ((-1.0, -2.0, -math.inf), False, False),
    ],
)
def test_compare(numbers, same, identical):
    """Readings are the same within a tolerance on average; one impossible token is enough to tell them apart."""
    found = compare_canaries(reading(-1.0, -2.0, -3.0), reading(*numbers))
    assert (found.tokens, found.same, found.identical) == (3, same, identical)
    assert "3 log-probabilities" in str(found)


def test_impossible_in_both():
    """A token that is impossible in both readings does not set them apart."""
    assert compare_canaries(reading(-math.inf, -1.0, -1.0), reading(-math.inf, -1.0, -1.0)).identical


@pytest.mark.parametrize(
    ("other", "says"),
    [(Canary([[5]], [[None]]), "other prompts"), (reading(None, math.nan, None), "no log-probability")],
)
def test_incomparable(other, says):
    """What cannot be compared is an error, and no verdict."""
    with pytest.raises(ValueError, match=says):
        compare_canaries(reading(-1.0, None, None), other)


def test_file(tmp_path):
    """What is written is read again, and replaces what was there; no file is no numbers."""
    path = tmp_path / "canary.json"
    assert read_canaries(path) == {}
    for kept in ({"a": reading(-1.0, None, -3.0)}, {"b": reading(-math.inf, -2.0, -3.5), "a": reading(-1, -2, -3)}):
        write_canaries(path, kept)
        assert read_canaries(path) == kept
    assert json.loads(path.read_text())["canaries"]["b"]["logprobs"] == [[None, -9999.0, -2.0], [None, -3.5]]
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_way_is_not_followed(tmp_path):
    """A link that bears the new file's name, or the file's own, is removed: what it leads to stays as it is."""
    path, elsewhere = tmp_path / "canary.json", tmp_path / "elsewhere"
    elsewhere.write_text("{}")
    for name in ("canary.json.new", "canary.json"):
        (tmp_path / name).symlink_to(elsewhere)
        write_canaries(path, {"a": reading(-1.0, None, -3.0)})
        assert (elsewhere.read_text(), path.is_symlink()) == ("{}", False)
        path.unlink()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"format": 2, "canaries": {}}', '{"format": 1}', '{"format": 1, "canaries": {"a": 1}}'),
        '{"format": 1, "canaries": {"a": {"prompts": [[5]], "logprobs": [[1, 2]]}}}',
        '{"format": 1, "canaries": {"a": {"prompts": [[5]], "logprobs": [["x"]]}}}',
        '{"format": 1, "canaries": {"a": {"prompts": [["x"]], "logprobs": [[null]]}}}',
    ],
)
def test_other_files(tmp_path, text):
    """A file that holds something else is refused by its name."""
    path = tmp_path / "canary.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"canary\.json is no file of canary numbers"):
        read_canaries(path)
