"""Dequantisation of a GGUF file's tensors into float32 arrays."""

from __future__ import annotations

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import GgufFile, TensorInfo


def load_weights(model: GgufFile) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a model file, as float32.

    Raises:
        LocalError: A tensor is cut short, or in a format that is not known.
    """
    data = np.memmap(model.path, np.uint8, "r")
    try:
        return {name: _plain(data, info) for name, info in model.tensors.items()}
    except (ValueError, KeyError, NotImplementedError) as error:
        raise LocalError(f"The tensors of {model.path} cannot be read: {error}.") from error


def _plain(data: NDArray[np.uint8], info: TensorInfo) -> NDArray[np.float32]:
    kind = GGMLQuantizationType(info.format)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    *rows, columns = info.shape
    shape = (*rows, columns // block * block_bytes)
    raw = data[info.start : info.start + int(np.prod(shape, dtype=np.int64))].reshape(shape)
    if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
        raw = raw.view(np.float32 if kind is GGMLQuantizationType.F32 else np.float16)
    return np.ascontiguousarray(dequantize(raw, kind), np.float32)
