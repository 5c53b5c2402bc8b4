"""Matrices of each type, made by the library's own tool, computed by both runtimes."""

from __future__ import annotations

import importlib.resources
import subprocess

import numpy as np
import pytest
from tiny_model import tensors, write_model

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.numpy_runtime import NumpyRuntime

pytest.importorskip("ik_llama_cpp", reason="needs the prebuilt library")

from llama_library import prefill

from tinkex.local.model.ik_runtime import IkRuntime

pytestmark = pytest.mark.slow
KINDS = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ3_S IQ3_XXS IQ4_NL IQ4_XS MXFP4"


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A tiny model whose rows fill whole blocks of every type."""
    weights = tensors(size=256)
    weights |= {"output.weight": weights["token_embd.weight"]}
    return write_model(tmp_path_factory.mktemp("wide") / "wide.gguf", size=256, weights=weights)


def quantized(wide, path, kind):
    """The same model with its matrices in another type, made by the library's own tool."""
    tool = importlib.resources.files("ik_llama_cpp") / "bin" / "llama-quantize"
    options = ["--pure", "--token-embedding-type", kind.lower(), "--output-tensor-type", kind.lower()]
    subprocess.run([str(tool), *options, str(wide), str(path), kind], check=True, capture_output=True)
    return read_gguf(path)


@pytest.mark.parametrize(
    "kind",
    [
        "F16",
        "BF16",
        "Q4_0",
        "Q4_1",
        "Q5_0",
        "Q5_1",
        "Q8_0",
        "Q2_K",
        "Q3_K",
        "Q4_K",
        "Q5_K",
        "Q6_K",
        "IQ3_S",
        "IQ3_XXS",
        "IQ4_NL",
        "IQ4_XS",
        "MXFP4",
    ],
)
def test_tensor_types(wide, tmp_path, kind):
    """Matrices of each type mean the same numbers to both runtimes, up to the library's rounding of activations."""
    model = quantized(wide, tmp_path / f"{kind}.gguf", kind)
    found = [prefill(runtime, model) for runtime in (NumpyRuntime, IkRuntime)]
    assert np.abs(found[0] - found[1]).mean() < 0.1 * found[0].std()


def test_tensor_types_of_the_library_alone(wide, tmp_path):
    """A type that is the library's own is read by it, and refused by NumPy with the tensor's name."""
    model = quantized(wide, tmp_path / "own.gguf", "IQ4_KS")
    assert prefill(IkRuntime, model).std() > 1
    with pytest.raises(LocalError, match=r"token_embd\.weight"):
        NumpyRuntime(model)
