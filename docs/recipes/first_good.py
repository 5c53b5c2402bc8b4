"""Draw answers until one is good enough, and cancel the others."""

from concurrent.futures import as_completed

import tinkex

QUESTION = "Write a sentence of at most twelve words about the sea."

with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    futures = [client.chat(QUESTION, max_tokens=48, temperature=0.5, seed=seed) for seed in range(16)]
    for number, future in enumerate(as_completed(futures), 1):
        text = future.result().text
        print(f"{number}: {len(text.split())} words: {text!r}")
        if len(text.split()) <= 12:
            break
    cancelled = sum(future.cancel() for future in futures)
print(f"{cancelled} cancelled")
