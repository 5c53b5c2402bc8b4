"""Runtime over ik-llama-cpp-python, a prebuilt llama.cpp library called through its C interface."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ik_llama_cpp import _ctypes_api as c_api
from numpy.typing import NDArray

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import GgufFile
from tinkex.local.model.hyperparameters import ROPE_FACTORS

_PROMPT = 0  # the library's number for the prompt; sequence i is i + 1
_SPARE_CELLS = 32
# With 32 tokens or more in one call, this version computes wrong logits for Q4_1 weights; up to 31 they are the same
# to the last bit as those of one token at a time.
_AT_ONCE = 16
_IGNORES_FACTORS = (
    f"the prebuilt library computes without the tensor {ROPE_FACTORS}: log-probabilities are off, the more so the"
    ' longer the prompt is. runtime="numpy" computes with it.'
)
_errors: deque[str] = deque(maxlen=4)


def _on_log(_level: int, text: bytes, _data: Any) -> None:
    line = text.decode(errors="replace").strip()
    if "error" in line.lower() or "fail" in line.lower():
        _errors.append(line)


_LISTENER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_listener = _LISTENER(_on_log)  # kept here: the library holds no reference


def _bind() -> Any:
    """Declare the functions that the package leaves out, and keep the library's log off stderr."""
    library = c_api._lib  # noqa: SLF001 - the only way to them
    context, number = ctypes.c_void_p, ctypes.c_int32
    library.llama_kv_cache_seq_cp.argtypes = [context, number, number, number, number]
    library.llama_kv_cache_seq_cp.restype = None
    library.llama_kv_cache_seq_rm.argtypes = [context, number, number, number]
    library.llama_kv_cache_seq_rm.restype = ctypes.c_bool
    library.llama_log_set.argtypes = [_LISTENER, ctypes.c_void_p]
    library.llama_log_set.restype = None
    library.llama_log_set(_listener, None)
    return library


def _last_errors() -> str:
    return " ".join(_errors) or "the library gives no reason."


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class IkRuntime:
    """Model loaded by the library, for the life of the process. A wrong call aborts the process."""

    name = "ik"

    def __init__(self, model: GgufFile, threads: int | None = None) -> None:
        self.library = _bind()
        ignored = ROPE_FACTORS in model.tensors
        self.warnings: Sequence[str] = [f"{model.path}: {_IGNORES_FACTORS}"] if ignored else []
        self.threads = threads or min(8, _usable_cores())
        self.turn = threading.Lock()  # one computation at a time
        c_api.llama_backend_init()
        params = c_api.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = c_api.llama_model_load_from_file(os.fsencode(model.path), params)
        if not self.model:
            raise LocalError(f"{model.path} could not be loaded: {_last_errors()}")
        self.vocabulary = int(c_api.llama_vocab_n_tokens(c_api.llama_model_get_vocab(self.model)))

    def open(self, cells: int, sequences: int) -> IkSession:
        """Start a session."""
        with self.turn:
            return IkSession(self, cells, sequences)


class IkSession:
    """Context of the library: the KV cache of a prompt and of the sequences that continue it."""

    def __init__(self, runtime: IkRuntime, cells: int, sequences: int) -> None:
        params = c_api.llama_context_default_params()
        params.n_ctx = cells + _SPARE_CELLS
        params.n_batch = params.n_ubatch = _AT_ONCE
        params.n_seq_max = sequences + 1
        params.n_threads = params.n_threads_batch = runtime.threads
        # With flash attention, this version mixes up sequences that share a context.
        params.flash_attn = False
        self._runtime = runtime
        self._context = c_api.llama_init_from_model(runtime.model, params)
        if not self._context:
            raise LocalError(f"There is no memory for {cells} tokens: {_last_errors()}")
        self._batch = c_api.llama_batch_init(_AT_ONCE, 0, 1)
        self._lengths = [0] * (sequences + 1)

    def prefill(self, tokens: Sequence[int], first: int) -> NDArray[np.float32]:
        """Append tokens to the prompt."""
        return self._compute([(_PROMPT, token) for token in tokens], first)

    def branch(self, count: int) -> None:
        """Let sequences continue the prompt."""
        library = self._runtime.library
        for sequence in range(1, len(self._lengths)):
            library.llama_kv_cache_seq_rm(self._context, sequence, -1, -1)
        for sequence in range(1, count + 1):
            library.llama_kv_cache_seq_cp(self._context, _PROMPT, sequence, -1, -1)
            self._lengths[sequence] = self._lengths[_PROMPT]

    def step(self, tokens: Mapping[int, int]) -> NDArray[np.float32]:
        """Append one token to each sequence."""
        return self._compute([(sequence + 1, token) for sequence, token in tokens.items()], 0)

    def _compute(self, items: Sequence[tuple[int, int]], first: int) -> NDArray[np.float32]:
        rows = np.empty((len(items) - first, self._runtime.vocabulary), np.float32)
        for start in range(0, len(items), _AT_ONCE):
            part = items[start : start + _AT_ONCE]
            skipped = min(max(first - start, 0), len(part))
            self._decode(part, skipped, rows[max(start - first, 0) :])
        return rows

    def _decode(self, items: Sequence[tuple[int, int]], first: int, rows: NDArray[np.float32]) -> None:
        """Decode tokens, and copy the logits after each from number *first* on into *rows*."""
        batch, lengths = self._batch, self._lengths
        batch.n_tokens = len(items)
        for index, (sequence, token) in enumerate(items):
            batch.token[index] = token
            batch.pos[index] = lengths[sequence]
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = index >= first
            lengths[sequence] += 1
        with self._runtime.turn:
            status = c_api.llama_decode(self._context, batch)
            if status != 0:
                raise LocalError(f"The model could not go on (status {status}): {_last_errors()}")
            for index in range(first, len(items)):
                logits = c_api.llama_get_logits_ith(self._context, index)
                rows[index - first] = np.ctypeslib.as_array(logits, (rows.shape[1],))

    def close(self) -> None:
        """Free the context; the session is not used again."""
        if self._context:
            c_api.llama_batch_free(self._batch)
            c_api.llama_free(self._context)
            self._context = None
