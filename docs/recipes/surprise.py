"""The perplexity of texts, and the tokens of each that surprised the model most."""

import math
import statistics

import tinkex

TEXTS = [
    "The cat sat on the mat and looked out of the window.",
    "The cat sat on the committee and looked out of the window.",
    "Window the of out looked and mat the on sat cat the.",
]

with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    tokenizer = client.get_tokenizer()
    prompts = [tokenizer.encode(text) for text in TEXTS]
    scores = list(client.sample_many(prompts, call=client.compute_logprobs))
for text, tokens, logprobs in zip(TEXTS, prompts, scores, strict=True):
    scored = list(zip(logprobs[1:], map(tokenizer.decode, ([token] for token in tokens[1:])), strict=True))
    perplexity = math.exp(-statistics.fmean(logprob for logprob, _ in scored))
    print(f"{perplexity:.0f}: {text}")
    print("    " + ", ".join(f"{piece!r} {logprob:.1f}" for logprob, piece in sorted(scored)[:3]))
