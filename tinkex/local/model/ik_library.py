"""Binding of ik-llama-cpp-python's C interface: models, contexts, decoding, saved KV caches."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from ik_llama_cpp import _ctypes_api as c_api
from numpy.ctypeslib import as_array
from numpy.typing import NDArray

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import GgufFile

BATCH = 16
"""Most tokens of one call.

With 32 or more, version 0.1.5 computes other logits for quantised weights than with one at a time; up to 16 they are
the same to the last bit, for all types but those with interleaved rows (`_R4`, `_R8`). Larger calls are no quicker: a
token takes 3.0 ms of a core in calls of 16 and of 31.
"""
_errors: deque[str] = deque(maxlen=4)


def _on_log(_level: int, text: bytes, _data: Any) -> None:
    line = text.decode(errors="replace").strip()
    if "error" in line.lower() or "fail" in line.lower():
        _errors.append(line)


_LISTENER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_listener = _LISTENER(_on_log)  # kept here: the library holds no reference


def _last_errors() -> str:
    return " ".join(_errors) or "the library gives no reason."


def _bind() -> Any:
    """Declare the functions that the package leaves out, and keep the library's log off stderr."""
    library = c_api._lib  # noqa: SLF001 - the only way to them
    context, number, size = ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t
    declared: dict[str, tuple[list[Any], Any]] = {
        "llama_kv_cache_seq_cp": ([context, number, number, number, number], None),
        "llama_kv_cache_seq_rm": ([context, number, number, number], ctypes.c_bool),
        "llama_log_set": ([_LISTENER, ctypes.c_void_p], None),
        "llama_model_size": ([ctypes.c_void_p], ctypes.c_uint64),
        "llama_set_n_threads": ([context, ctypes.c_uint32, ctypes.c_uint32], None),
        "llama_state_seq_get_size": ([context, number, ctypes.c_uint32], size),
        "llama_state_seq_get_data": ([context, ctypes.c_void_p, size, number, ctypes.c_uint32], size),
        "llama_state_seq_set_data": ([context, ctypes.c_void_p, size, number, ctypes.c_uint32], size),
    }
    for name, (arguments, result) in declared.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    library.llama_log_set(_listener, None)
    return library


_library = _bind()


class LibraryModel:
    """Model loaded by the library, for the life of the process."""

    def __init__(self, file: GgufFile) -> None:
        c_api.llama_backend_init()
        params = c_api.llama_model_default_params()
        params.n_gpu_layers = 0
        self.handle: Any = c_api.llama_model_load_from_file(os.fsencode(file.path), params)
        if not self.handle:
            raise LocalError(f"{file.path} could not be loaded: {_last_errors()}")
        self.tokens: int = int(c_api.llama_vocab_n_tokens(c_api.llama_model_get_vocab(self.handle)))
        self.bytes: int = int(_library.llama_model_size(self.handle))


class LibraryContext:
    """Context of the library: KV cells that several sequences share, and the buffers to compute with.

    For one thread at a time; contexts of one model compute in parallel. A wrong call aborts the process.
    """

    def __init__(self, model: LibraryModel, cells: int, sequences: int) -> None:
        params = c_api.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = sequences
        # With flash attention, this version mixes up sequences that share a context.
        params.flash_attn = False
        self.cells = cells
        self._model = model
        self._handle = c_api.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise LocalError(f"There is no memory for {cells} tokens: {_last_errors()}")
        self._batch = c_api.llama_batch_init(BATCH, 0, 1)

    def decode(self, items: Sequence[tuple[int, int, int]], first: int, threads: int) -> None:
        """Run at most `BATCH` tokens, each with its position and sequence; logits from number *first* on are kept."""
        batch = self._batch
        batch.n_tokens = len(items)
        for index, (token, position, sequence) in enumerate(items):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = index >= first
        _library.llama_set_n_threads(self._handle, threads, threads)
        status = c_api.llama_decode(self._handle, batch)
        if status != 0:
            raise LocalError(f"The model could not go on (status {status}): {_last_errors()}")

    def logits(self, index: int) -> NDArray[np.float32]:
        """The logits after a token of the last `decode`: a view, until the next one."""
        return as_array(c_api.llama_get_logits_ith(self._handle, index), (self._model.tokens,))

    def copy(self, source: int, target: int) -> None:
        """Let a sequence continue another."""
        _library.llama_kv_cache_seq_cp(self._handle, source, target, -1, -1)

    def remove(self, sequence: int = -1, position: int = -1) -> None:
        """Forget a sequence from a position on; -1 means all of them, or all of it."""
        _library.llama_kv_cache_seq_rm(self._handle, sequence, position, -1)

    def save(self, sequence: int, limit: int) -> NDArray[np.uint8] | None:
        """Copy a sequence's keys and values; None where they take more bytes than *limit*."""
        size = _library.llama_state_seq_get_size(self._handle, sequence, 0)
        if size > limit:
            return None
        data = np.empty(size, np.uint8)
        _library.llama_state_seq_get_data(self._handle, data.ctypes.data, size, sequence, 0)
        return data

    def restore(self, data: NDArray[np.uint8], sequence: int) -> None:
        """Put saved keys and values into an empty context that has cells for all of them."""
        if not _library.llama_state_seq_set_data(self._handle, data.ctypes.data, data.nbytes, sequence, 0):
            raise LocalError(f"A saved prompt could not be restored: {_last_errors()}")

    def free(self) -> None:
        """Release the memory; the context is not used again."""
        c_api.llama_batch_free(self._batch)
        c_api.llama_free(self._handle)
