"""Choice of the runtime for a model file: the prebuilt library, or NumPy."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from tinkex.local.model.gguf_file import GgufFile
from tinkex.local.model.hyperparameters import ROPE_FACTORS, check_heeded
from tinkex.local.model.runtime import Runtime

RuntimeName = Literal["auto", "ik", "numpy"]
#: Why it matters that NumPy computes; the reason follows.
SLOWER = "The local model computes with NumPy, which is slower:"


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
    return import_runtime(model, name, threads)()


def import_runtime(model: GgufFile, name: RuntimeName = "auto", threads: int | None = None) -> Callable[[], Runtime]:
    """The first half of `load_runtime`: import what computes; what is returned loads the model, in any thread."""
    check_heeded(model)
    if name == "ik":
        return _import_ik(model, threads)
    reason: tuple[str, ...] = ()
    if name == "auto" and model.architecture == "llama" and ROPE_FACTORS in model.tensors:
        reason = (f"{SLOWER} the prebuilt library would leave out the tensor {ROPE_FACTORS}.",)
    elif name == "auto":
        with suppress(ImportError, OSError):  # not installed, for another system, or a library that it needs is missing
            return _import_ik(model, threads)
        reason = (f"{SLOWER} ik-llama-cpp-python is missing or does not run here.",)
    from tinkex.local.model.numpy_runtime import NumpyRuntime

    return functools.partial(NumpyRuntime, model, reason)


def _import_ik(model: GgufFile, threads: int | None) -> Callable[[], Runtime]:
    # Threads that wait in a busy loop for each other take turns of milliseconds once the cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import ik_llama_cpp  # noqa: F401 - before the next line: where it does not load, NumPy is to have all cores

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for NumPy, whose threads would spin while the server starts
    from tinkex.local.model.ik_runtime import IkRuntime

    return functools.partial(IkRuntime, model, threads)
