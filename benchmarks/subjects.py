"""The clients that are measured, behind one interface; each is imported when its process has chosen it.

This module imports nothing: what a program costs until its first sample is then the client's alone.
"""

from __future__ import annotations

MODEL = "bench/model"
KEY = "tml-benchmark"


class Tinkex:
    """tinkex, whether with the `fast` extra or not."""

    def __init__(self, url: str, most: int) -> None:
        import tinkex

        self._tinkex = tinkex
        config = tinkex.ClientConfig(max_in_flight=most)
        self._service = tinkex.ServiceClient(base_url=url, api_key=KEY, config=config)

    def client(self):
        return self._service.create_sampling_client(base_model=MODEL)

    def prompt(self, tokens):
        return self._tinkex.ModelInput.from_ints(tokens)

    def params(self, tokens):
        return self._tinkex.SamplingParams(max_tokens=tokens)

    def sample(self, client, prompt, params, count, scored):
        return client.sample(prompt, params, num_samples=count, include_prompt_logprobs=scored)


class Tinker:
    """The official SDK."""

    def __init__(self, url: str, most: int) -> None:
        import tinker

        self._types = tinker.types
        self._service = tinker.ServiceClient(base_url=url, api_key=KEY)

    def client(self):
        client = self._service.create_sampling_client(base_model=MODEL)
        return client.result() if hasattr(client, "result") else client

    def prompt(self, tokens):
        return self._types.ModelInput.from_ints(tokens)

    def params(self, tokens):
        return self._types.SamplingParams(max_tokens=tokens)

    def sample(self, client, prompt, params, count, scored):
        return client.sample(prompt, count, params, include_prompt_logprobs=scored)


def _floor(url: str, most: int):
    from floor import Floor

    return Floor(url, most)


SUBJECTS = {"tinker": Tinker, "tinkex": Tinkex, "tinkex+fast": Tinkex, "floor": _floor}


def read(response) -> int:
    """Touch what a user would: tokens and log-probabilities as lists."""
    return sum(len(sequence.tokens) + len(sequence.logprobs or ()) for sequence in response.sequences)
