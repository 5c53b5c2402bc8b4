"""The same calls through the official SDK or tinkex, whose names for them agree, and what came back as plain data.

Run as `python scripted_calls.py MODULE URL` it prints the results as JSON.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
TARGETS = [[3, -1], [4, 9], [-1, -1], [6, 2]]


def calls(types):
    """The name and the keywords of each call to `sample`, with the classes of one library."""
    tokens = types.ModelInput.from_ints([5, 6, 7, 8, 9])
    image = types.ImageChunk(data=PNG, format="png", expected_tokens=2)
    mixed = types.ModelInput(
        chunks=[types.EncodedTextChunk(tokens=[1, 2, 3]), image, types.EncodedTextChunk(tokens=[4])]
    )
    flat = [value for row in TARGETS for value in row]
    dense = types.TensorData(data=flat, dtype="int64", shape=[4, 2])
    sparse = types.TensorData(
        data=[3, 4, 9, 6, 2],
        dtype="int64",
        shape=[4, 2],
        sparse_crow_indices=[0, 1, 3, 3, 5],
        sparse_col_indices=[0, 0, 1, 0, 1],
    )
    params = types.SamplingParams
    plain = params(max_tokens=4, seed=11)
    yield "plain", {"prompt": tokens, "sampling_params": plain}
    yield "four samples", {"prompt": tokens, "sampling_params": plain, "num_samples": 4}
    yield "greedy", {"prompt": tokens, "sampling_params": params(max_tokens=3, seed=1, temperature=0.0)}
    yield "top k and top p", {"prompt": tokens, "sampling_params": params(max_tokens=3, seed=2, top_k=5, top_p=0.5)}
    yield "stop string", {"prompt": tokens, "sampling_params": params(max_tokens=3, seed=3, stop="end")}
    yield "stop strings", {"prompt": tokens, "sampling_params": params(max_tokens=3, seed=3, stop=["a", "b"])}
    yield "stop ids", {"prompt": tokens, "sampling_params": params(max_tokens=3, seed=3, stop=[0, 2])}
    yield "no stop", {"prompt": tokens, "sampling_params": params(max_tokens=3, seed=3, stop=[])}
    yield "prompt logprobs", {"prompt": tokens, "sampling_params": plain, "include_prompt_logprobs": True}
    yield (
        "last prompt logprobs",
        {
            "prompt": tokens,
            "sampling_params": plain,
            "include_prompt_logprobs": True,
            "topk_prompt_logprobs": 2,
            "prompt_logprobs_last_n": 2,
        },
    )
    yield (
        "top prompt logprobs",
        {"prompt": tokens, "sampling_params": plain, "include_prompt_logprobs": True, "topk_prompt_logprobs": 3},
    )
    yield "top sample logprobs", {"prompt": tokens, "sampling_params": plain, "topk_sample_logprobs": 3}
    yield "dense targets", {"prompt": tokens, "sampling_params": plain, "target_prompt_logprobs": dense}
    yield "sparse targets", {"prompt": tokens, "sampling_params": plain, "target_prompt_logprobs": sparse}
    yield "alternatives", {"prompt": tokens, "sampling_params": plain, "prompt_alt_tokens_k": 2}
    yield "image", {"prompt": mixed, "sampling_params": plain}
    yield "long prompt", {"prompt": types.ModelInput.from_ints(list(range(2000))), "sampling_params": plain}


def tensor(data):
    """A tensor as plain data."""
    return data and {
        "data": list(data.data),
        "dtype": data.dtype,
        "shape": data.shape and list(data.shape),
        "crow": data.sparse_crow_indices and list(data.sparse_crow_indices),
        "col": data.sparse_col_indices and list(data.sparse_col_indices),
    }


def rows(topk):
    """Top-k log-probabilities as plain data."""
    return topk and [row and [list(pair) for pair in row] for row in topk]


def fields(response):
    """Every field that the official SDK documents, as plain data."""
    alternatives = response.prompt_alt_tokens
    return {
        "sequences": [
            {
                "tokens": list(sequence.tokens),
                "logprobs": sequence.logprobs,
                "topk_logprobs": rows(sequence.topk_logprobs),
                "stop_reason": sequence.stop_reason,
            }
            for sequence in response.sequences
        ],
        "prompt_logprobs": response.prompt_logprobs,
        "topk_prompt_logprobs": rows(response.topk_prompt_logprobs),
        "target_prompt_logprobs": tensor(response.target_prompt_logprobs),
        "prompt_alt_tokens": alternatives and [tensor(alternatives.tokens), tensor(alternatives.logprobs)],
        "prompt_cache_hit_tokens": response.prompt_cache_hit_tokens,
    }


def results(types, client):
    """What each call gives, and the sequence ids that came with it, by the name of the call."""
    found, ids = {}, {}
    for name, keywords in calls(types):
        response = client.sample(**{"num_samples": 1, **keywords}).result(timeout=60)
        found[name] = fields(response)
        ids[name] = [sequence.sequence_id for sequence in response.sequences]
    found["compute_logprobs"] = client.compute_logprobs(types.ModelInput.from_ints([5, 6, 7])).result(timeout=60)
    return {"results": found, "ids": ids}


if __name__ == "__main__":
    library = importlib.import_module(sys.argv[1])
    with library.ServiceClient(base_url=sys.argv[2], api_key="tml-scripted") as service:
        sampling = service.create_sampling_client(base_model="Qwen/Qwen3-8B")
        sampling = getattr(sampling, "result", lambda: sampling)()  # the official SDK returns a future
        print(json.dumps(results(getattr(library, "types", library), sampling)))
