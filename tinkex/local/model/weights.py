"""Weights of a GGUF file: dequantised into float32 arrays, their shapes checked."""

from __future__ import annotations

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import GgufFile, TensorInfo
from tinkex.local.model.hyperparameters import ROPE_FACTORS, LlamaHyperparameters

#: Without it the output matrix is the embedding, and positions are not scaled.
_OPTIONAL = frozenset({"output.weight", ROPE_FACTORS})


def load_weights(model: GgufFile) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a model file, as float32.

    Raises:
        LocalError: A tensor is cut short, or of a type that is not known; the message names it.
    """
    data = np.memmap(model.path, np.uint8, "r")
    return {name: _dequantized(model, data, name, info) for name, info in model.tensors.items()}


def check_tensors(model: GgufFile, shape: LlamaHyperparameters) -> None:
    """Compare the tensors of a file with those that a model of this shape has.

    Raises:
        LocalError: One is missing, unknown, or of another shape; the message names it.
    """
    expected = _expected_shapes(model, shape)
    lacking = expected.keys() - model.tensors.keys() - _OPTIONAL
    extra = model.tensors.keys() - expected.keys()
    if lacking or extra:
        names_shown = ", ".join(sorted(lacking or extra)[:3])
        raise LocalError(f"{model.path} {'lacks' if lacking else 'has unknown'} tensors: {names_shown}.")
    for name, info in model.tensors.items():
        if info.shape != expected[name]:
            raise LocalError(f"{model.path} has {name} of shape {info.shape}; {expected[name]} is expected.")


def _expected_shapes(model: GgufFile, shape: LlamaHyperparameters) -> dict[str, tuple[int, ...]]:
    width, inner = shape.width, int(model.number("feed_forward_length"))
    tokens = len(model.require("tokenizer.ggml.tokens"))
    query, shared = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    layer = {
        "attn_norm": (width,), "attn_q": (query, width), "attn_k": (shared, width), "attn_v": (shared, width),
        "attn_output": (width, query), "ffn_norm": (width,),
        "ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner),
    }  # fmt: skip
    common: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (tokens, width), "output.weight": (tokens, width), "output_norm.weight": (width,),
        ROPE_FACTORS: (shape.head_size // 2,),
    }  # fmt: skip
    return common | {
        f"blk.{number}.{name}.weight": each for number in range(shape.layers) for name, each in layer.items()
    }


def _dequantized(model: GgufFile, data: NDArray[np.uint8], name: str, info: TensorInfo) -> NDArray[np.float32]:
    try:
        kind = GGMLQuantizationType(info.format)
        block, block_bytes = GGML_QUANT_SIZES[kind]
        *rows, columns = info.shape
        shape = (*rows, columns // block * block_bytes)
        raw = data[info.start : info.start + int(np.prod(shape, dtype=np.int64))].reshape(shape)
        if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
            raw = raw.view(np.float32 if kind is GGMLQuantizationType.F32 else np.float16)
        return np.ascontiguousarray(dequantize(raw, kind), np.float32)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise LocalError(f"{model.path} has a tensor {name} that cannot be read: {error}.") from error
