"""What other processes do with a client that came to them as a pickle; they import it by name."""

from __future__ import annotations

import os

import tinkex


def sample(client, number):
    """Sample one prompt here; the tokens, and where here is."""
    return client.sample([number], tinkex.SamplingParams(max_tokens=4)).result(30).sequences[0].tokens, os.getpid()
