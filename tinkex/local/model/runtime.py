"""Runtime interface (prefill, branch, decode step), and the choice between its implementations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Protocol

from tinkex.local.model.gguf_file import GgufFile
from tinkex.local.model.hyperparameters import ROPE_FACTORS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

RuntimeName = Literal["auto", "ik", "numpy"]

#: Why it matters that NumPy computes; the reason follows.
SLOWER = "The local model computes with NumPy, which is slower:"
#: Most tokens that go through the model in one call: a longer prompt goes in pieces, so that it can be cancelled.
PREFILL_CHUNK = 128


class ModelSession(Protocol):
    """KV cache of one prompt and of the sequences that continue it.

    For one thread at a time. The same calls give the same numbers, independent of other sessions.
    """

    def prefill(self, tokens: Sequence[int], first: int) -> Rows:
        """Append at most `PREFILL_CHUNK` tokens to the prompt; return the logits after each from number *first* on."""

    def branch(self, count: int) -> None:
        """Let sequences 0 to *count* - 1 continue the prompt; what they held before is dropped."""

    def step(self, tokens: Mapping[int, int]) -> Rows:
        """Append one token to each of the given sequences; return the logits after it, a row a sequence."""

    def close(self) -> None:
        """Release the memory."""


class Runtime(Protocol):
    """A model, ready to compute. Safe to share between threads: the sessions take turns."""

    name: str
    """"ik" or "numpy"."""

    warnings: Sequence[str]
    """What the user should know about this choice of runtime, or about the file in it."""

    def open(self, cells: int, sequences: int) -> ModelSession:
        """Start a session that can remember *cells* tokens in all, in at most so many sequences."""


def load_runtime(model: GgufFile, name: RuntimeName = "auto", threads: int | None = None) -> Runtime:
    """Load a model; "auto" takes the faster `ik-llama-cpp-python` where it can be loaded and computes the whole file.

    Args:
        model: The file to load.
        name: "ik", "numpy" or "auto".
        threads: Threads to compute with; None means one a core, up to 8. NumPy chooses for itself.

    Raises:
        LocalError: The file cannot be loaded.
        ImportError: The packages that the runtime stands on are not installed.
    """
    if name == "ik":
        return _load_ik(model, threads)
    reason: tuple[str, ...] = ()
    if name == "auto" and model.architecture == "llama" and ROPE_FACTORS in model.tensors:
        reason = (f"{SLOWER} the prebuilt library would leave out the tensor {ROPE_FACTORS}.",)
    elif name == "auto":
        with suppress(ImportError, OSError):  # not installed, for another system, or a library that it needs is missing
            return _load_ik(model, threads)
        reason = (f"{SLOWER} ik-llama-cpp-python is missing or does not run here.",)
    from tinkex.local.model.numpy_runtime import NumpyRuntime

    return NumpyRuntime(model, reason)


def _load_ik(model: GgufFile, threads: int | None) -> Runtime:
    # Threads that wait in a busy loop for each other take turns of milliseconds once the cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from tinkex.local.model.ik_runtime import IkRuntime

    return IkRuntime(model, threads)
