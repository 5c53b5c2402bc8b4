from __future__ import annotations

import pytest

from tinkex.serve.models import ModelTarget, read_models

PATH = "tinker://run/sampler_weights/1"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("Qwen/Qwen3-8B", ModelTarget("Qwen/Qwen3-8B")),
        (PATH, ModelTarget(None, PATH)),
        (f"Qwen/Qwen3-8B;{PATH}", ModelTarget("Qwen/Qwen3-8B", PATH)),
        (f"Qwen/Qwen3-8B+{PATH}", ModelTarget("Qwen/Qwen3-8B", PATH)),
    ],
)
def test_names(name, target):
    """A name is a base model, a path, or both in the hosted form or tinkex's own."""
    assert ModelTarget.parse(name) == target


def test_read_models():
    """Models are given as names, as NAME=PATH texts, or as a mapping; order is kept, the first is the default."""
    targets = {"a/b": ModelTarget("a/b"), "mine": ModelTarget(None, PATH)}
    assert read_models(["a/b", f"mine={PATH}"]) == read_models({"a/b": "a/b", "mine": PATH}) == targets
    assert list(read_models(["mine=x", "a/b"])) == ["mine", "a/b"]
    assert read_models(None) == {}
    assert read_models("a/b") == {"a/b": ModelTarget("a/b")}


@pytest.mark.parametrize("models", [["a", "a"], ["=x"], ["a="], [""], {"": "x"}])
def test_models_that_are_wrong(models):
    """A name that is empty, stands for nothing, or is given twice is refused."""
    with pytest.raises(ValueError, match="models: "):
        read_models(models)
