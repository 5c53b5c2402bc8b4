"""Hyperparameters of a Llama model from the metadata of its GGUF file, checked for what the NumPy runtime computes.

Defaults for keys that a file leaves out are those of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from attrs import frozen

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import GgufFile

ROPE_FACTORS = "rope_freqs.weight"
"""Tensor of Llama 3.1 and later: what each frequency of the rotary embedding is divided by."""
#: Keys of a Llama model that would change the computation, which no runtime heeds, and values that leave it as it is.
_UNHEEDED: Mapping[str, tuple[float, ...]] = {
    "attention.scale": (0,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "embedding_scale": (0, 1),
}
_NEUTRAL: Mapping[str, tuple[float, ...]] = {"expert_count": (0,), "rope.scaling.attn_factor": (0, 1)}  # for NumPy


@frozen
class LlamaHyperparameters:
    """Shape and constants of a Llama model.

    *rope_scale* is what the frequencies of the rotary embedding are multiplied by: less than one stretches positions.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    epsilon: float
    rope_base: float
    rope_scale: float

    @classmethod
    def read(cls, model: GgufFile) -> Self:
        """Read them from a file.

        Raises:
            LocalError: A key is missing, or has a value that the NumPy runtime does not compute; the message names it.
        """
        if model.architecture != "llama":
            raise LocalError(
                f"{model.path} is a {model.architecture} model; the NumPy runtime knows the Llama family only."
            )
        for name, values in _NEUTRAL.items():
            if (found := model.number(name, values[0])) not in values:
                raise _unsupported(model, name, found)
        width, heads = int(model.number("embedding_length")), int(model.number("attention.head_count"))
        if heads < 1 or width < 1:
            raise _unsupported(model, "attention.head_count", heads)
        kv_heads = int(model.number("attention.head_count_kv", heads))
        if kv_heads < 1 or heads % kv_heads:
            raise _unsupported(model, "attention.head_count_kv", kv_heads)
        size = int(model.number("attention.key_length", width // heads))
        for name in ("attention.value_length", "rope.dimension_count"):
            if (found := model.number(name, size)) != size:
                raise _unsupported(model, name, found)
        return cls(
            layers=int(model.number("block_count")),
            width=width,
            heads=heads,
            kv_heads=kv_heads,
            head_size=size,
            epsilon=float(model.number("attention.layer_norm_rms_epsilon")),
            rope_base=float(model.number("rope.freq_base", 10000.0)),
            rope_scale=_rope_scale(model),
        )


def check_heeded(model: GgufFile) -> None:
    """Refuse, for all runtimes, what they would leave out, and what llama.cpp and its fork take differently."""
    for name, values in _UNHEEDED.items() if model.architecture == "llama" else ():
        if (found := model.number(name, values[0])) not in values:
            raise LocalError(f"{model.path} has llama.{name} {found!r}, which no runtime computes.")
    key = f"{model.architecture}.rope.scaling.type"
    if model.metadata.get(key) == "none" and (factor := _rope_factor(model)) not in (0, 1):
        raise LocalError(f"{model.path} has {key} 'none' and a factor of {factor:g}, which contradict each other.")


def _rope_factor(model: GgufFile) -> float:
    # The newer key wins where both are there, also when it is zero.
    return float(model.number("rope.scaling.factor", model.number("rope.scale_linear", 0.0)))


def _rope_scale(model: GgufFile) -> float:
    check_heeded(model)
    kind = model.metadata.get(f"{model.architecture}.rope.scaling.type", "linear")
    if kind not in ("linear", "none"):
        raise _unsupported(model, "rope.scaling.type", kind)
    factor = _rope_factor(model)
    return 1.0 if factor == 0 else 1.0 / factor


def _unsupported(model: GgufFile, name: str, value: object) -> LocalError:
    key = f"{model.architecture}.{name}"
    return LocalError(f"{model.path} has {key} {value!r}, which the NumPy runtime does not compute.")
