"""Rows of a batch's output, made by hand."""

from __future__ import annotations

import json
import random

BEGAN = 1_790_000_000.0
WORDS = [
    " the",
    " quick",
    " brown",
    " fox",
    " is",
    "\n",
    "</script><script>document.title='pwned'</script>",
    "\u202e",
    "🎉",
]
FIRST_ID = 100


class Words:
    """A tokenizer of a few words, some of them hostile."""

    def encode(self, text):
        raise NotImplementedError

    def decode(self, ids):
        return "".join(WORDS[token - FIRST_ID] for token in ids)


def row(number=0, *, words=(0, 1, 2), logprobs=(-0.01, -1.0, -6.0), began=None, seconds=1.0, **fields):
    """One row that went well."""
    began = BEGAN + number * 0.1 if began is None else began
    return {
        "id": f"row-{number}",
        "model": "a/model",
        "fingerprint": "0" * 16,
        "status": "ok",
        "parameters": {"max_tokens": 8},
        "prompt_tokens": [FIRST_ID, FIRST_ID + 4],
        "sequences": [
            {
                "text": "".join(WORDS[word] for word in words),
                "tokens": [FIRST_ID + word for word in words],
                "logprobs": list(logprobs),
                "stop_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 2, "sampled_tokens": len(words), "prompt_cache_hit_tokens": 0},
        "timing": {"queued": 0.01, "submit": 0.02, "wait": seconds, "fetch": 0.01},
        "request_id": "r",
        "started_at": began,
        "finished_at": began + seconds,
        "attempts": 1,
        "error": None,
        **fields,
    }


def failed_row(number=0, message="The server failed request req-1: bad luck", kind="RequestFailedError", **fields):
    """One row that did not."""
    error = {"type": kind, "message": message, "status": 500, "request_id": None, "phase": "waiting"}
    bad = {"status": "error", "sequences": [], "usage": None, "timing": None, "error": error}
    return row(number, **{**bad, **fields})


def many_rows(count, seed=0):
    """Rows as a real run gives them: some fail, some are cut, lengths and times differ."""
    source = random.Random(seed)
    for number in range(count):
        if source.random() < 0.03:
            yield failed_row(number, f"The server failed request req-{number}: out of luck")
            continue
        words = [source.randrange(len(WORDS)) for _ in range(1 + int(source.expovariate(0.05)))]
        logprobs = [-source.expovariate(1.0) for _ in words]
        made = row(
            number, words=words, logprobs=logprobs, seconds=source.lognormvariate(0, 0.5), began=BEGAN + number / 20
        )
        made["sequences"][0]["stop_reason"] = source.choice(["stop", "stop", "length"])
        made["sequences"][0]["topk_logprobs"] = [[[FIRST_ID + 1, -0.2], [FIRST_ID + 6, -2.0]] for _ in words]
        yield made


def write(path, rows, tail=""):
    """Write rows as lines, and something after them."""
    path.write_text("".join(json.dumps(each) + "\n" for each in rows) + tail)
    return path
