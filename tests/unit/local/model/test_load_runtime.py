from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from tiny_model import tensors, write_model

from tinkex.local.errors import LocalError
from tinkex.local.model import load_runtime as runtimes
from tinkex.local.model.gguf_file import read_gguf


class Library:
    """Stands for the prebuilt library's runtime."""

    name = "ik"

    def __init__(self, model, threads):
        self.warnings = []

    def __call__(self):
        return self


def load(path, monkeypatch, library, name="auto", **options):
    """Choose a runtime for a file that is written first, with something in the place of the library."""
    monkeypatch.setattr(runtimes, "_import_ik", library)
    return runtimes.load_runtime(read_gguf(write_model(path / "tiny.gguf", **options)), name)


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_library_that_does_not_load(tmp_path, monkeypatch, error):
    """A library that is missing or cannot be loaded is passed over with a warning, unless it was asked for by name."""

    def fail(model, threads):
        raise error("libgomp.so.1: cannot open shared object file")

    chosen = load(tmp_path, monkeypatch, fail)
    assert chosen.name == "numpy"
    assert "ik-llama-cpp-python is missing" in chosen.warnings[0]
    with pytest.raises(error):
        load(tmp_path, monkeypatch, fail, "ik")


def test_threads_of_numpy(tmp_path, monkeypatch):
    """A library that is missing leaves NumPy all cores, though beside the library NumPy has one thread."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setitem(sys.modules, "ik_llama_cpp", None)
    assert runtimes.load_runtime(read_gguf(write_model(tmp_path / "tiny.gguf"))).name == "numpy"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_library_first(tmp_path, monkeypatch):
    """The prebuilt library computes where it can, and NumPy where it is asked for; neither is worth a warning."""
    for name, expected in (("auto", "ik"), ("ik", "ik"), ("numpy", "numpy")):
        chosen = load(tmp_path, monkeypatch, Library, name)
        assert (chosen.name, list(chosen.warnings)) == (expected, [])


@pytest.mark.parametrize("name", ["auto", "ik", "numpy"])
def test_a_factor_without_scaling(tmp_path, monkeypatch, name):
    """A file that says both that positions are scaled and that they are not is refused by every runtime."""
    facts = {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0}
    with pytest.raises(LocalError, match=r"rope\.scaling\.type 'none' and a factor of 4"):
        load(tmp_path, monkeypatch, Library, name, **facts)


@pytest.mark.parametrize("name", ["auto", "ik", "numpy"])
@pytest.mark.parametrize("key", ["attention.scale", "attn_logit_softcapping", "logit_scale", "embedding_scale"])
def test_what_no_runtime_heeds(tmp_path, monkeypatch, name, key):
    """A key that would change the numbers, and that every runtime would leave out, is refused by its name."""
    with pytest.raises(LocalError, match=rf"llama\.{key} 0\.25"):
        load(tmp_path, monkeypatch, Library, name, **{f"llama.{key}": 0.25})


def test_frequency_factors_that_the_library_leaves_out(tmp_path, monkeypatch):
    """A file whose tensor the library would ignore is computed by NumPy, with a warning that names it."""
    weights = tensors() | {"rope_freqs.weight": np.array([1.0, 8.0], np.float32)}
    chosen = load(tmp_path, monkeypatch, Library, weights=weights)
    assert chosen.name == "numpy"
    assert "rope_freqs.weight" in chosen.warnings[0]
