"""The library in ik-llama-cpp-python, as the reference for what GGUF files mean."""

from __future__ import annotations

import ctypes
import os

from tinkex.local.model.ik_library import c_api

PROMPT = [5, 80, 81, 200, 7, 7, 42] * 9
WIDTH = 64  # its kernels need heads of at least eight numbers


class Library:
    """A file's vocabulary, loaded by the library."""

    def __init__(self, path):
        c_api.llama_backend_init()
        params = c_api.llama_model_default_params()
        params.n_gpu_layers, params.vocab_only = 0, True
        self.model = c_api.llama_model_load_from_file(os.fsencode(path), params)
        assert self.model

    def __enter__(self):
        return self

    def __exit__(self, *_):
        c_api.llama_free_model(self.model)

    def encode(self, text, add_special_tokens=True):
        """Tokens of a text, special ones in it read as such."""
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 16))()
        count = c_api.llama_tokenize(self.model, data, len(data), room, len(room), add_special_tokens, True)
        return room[:count]

    def end_ids(self):
        """The tokens that end an answer."""
        count = c_api.llama_vocab_n_tokens(c_api.llama_model_get_vocab(self.model))
        return {token for token in range(count) if c_api.llama_token_is_eog(self.model, token)}


def prefill(runtime, model):
    """The logits after each token of the prompt."""
    session = runtime(model).open(len(PROMPT), 1)
    rows = session.prefill(PROMPT, 0)
    session.close()
    return rows
