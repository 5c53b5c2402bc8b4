"""Have a model fill in JSON: what does not parse goes back with the error, up to three times, in threads."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tinkex

EXAMPLE = [
    {"role": "user", "content": "As JSON, who lives where: Ann has a flat in Oslo."},
    {"role": "assistant", "content": '{"name": "Ann", "city": "Oslo"}'},
]
TEXTS = ["Tom lives in Paris.", "Maria has moved to Rome.", "Jan has bought a house in Berlin."]


def extract(text: str) -> Any:
    """Return what the model makes of a text, or None."""
    messages: list[dict[str, Any]] = [*EXAMPLE, {"role": "user", "content": f"As JSON, who lives where: {text}"}]
    for temperature in (0.0, 0.5, 1.0):
        answer = client.chat(messages, max_tokens=48, temperature=temperature, seed=1).result()
        try:
            found = json.loads(answer.text)
            return {"name": found["name"], "city": found["city"]}
        except (ValueError, TypeError, KeyError) as error:
            problem = {"role": "user", "content": f"That is not right: {error!r}. Only the JSON, please."}
            messages += [answer.message, problem]
    return None


with tinkex.ServiceClient.local() as service, ThreadPoolExecutor(16) as threads:  # or tinkex.ServiceClient()
    client = service.create_sampling_client(base_model=service.local_model)
    for record in threads.map(extract, TEXTS):
        print(json.dumps(record))
