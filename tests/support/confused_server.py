"""A small Tinker server that is confused: it loses, halves and refuses answers, and reports ids that come to its mind.

Run as `python confused_server.py POLLER`: prints its port, and serves until its input ends. With POLLER "together" it
offers the session poller, to which it reports requests that have ended in any order, twice, too early, and such as
there never were. The result of a sample is its prompt, which comes up to 50 ms after it was asked for.
"""

from __future__ import annotations

import asyncio
import random
import sys

from surplus_server import Echo, answer_to, serve, whole

MOST_SECONDS = 0.05
LONG_POLL = 0.05
FLAGS = {"sample_use_retrieve_futures": True, "sample_cancel_enabled": True}
chance = random.Random(7)
ready_at = {}  # by request id
cursors = iter(range(1, 1 << 60))


class Confused(Echo):
    """One connection."""

    def answer(self, endpoint, body):
        loop = asyncio.get_running_loop()
        data = answer_to(endpoint, body)
        if endpoint == "asample":
            tokens = body["prompt"]["chunks"][0]["tokens"]
            ready_at.setdefault("r-{}-{}".format(*tokens), loop.time() + chance.uniform(0, MOST_SECONDS))
        elif endpoint == "retrieve_future":
            if loop.time() < ready_at[body["request_id"]]:
                data = whole("200 OK", {"type": "try_again"})
        elif endpoint == "retrieve_futures":
            loop.call_later(chance.uniform(0, LONG_POLL), self.report)
            return
        elif endpoint in ("client/config", "dynamic_config", "config"):
            data = whole("200 OK", FLAGS if sys.argv[1] == "together" else {})
        elif endpoint == "cancel_future":
            data = whole("200 OK", {})
        loop.call_later(chance.uniform(0, 0.002), self.send, endpoint, data)

    def report(self):
        """Tell some of what has ended, and some of what has not."""
        known = chance.sample(list(ready_at), min(len(ready_at), 200)) if ready_at else []
        now = asyncio.get_running_loop().time()
        ended = [each for each in list(ready_at)[-3000:] if ready_at[each] <= now]
        ids = [*ended, *known, *chance.sample(ended, len(ended) // 10), f"r-{chance.randrange(10**9)}-0"]
        chance.shuffle(ids)
        completions = [{"state": "finished", "request_id": each} for each in ids]
        self.send("retrieve_futures", whole("200 OK", {"completions": completions, "cursor": next(cursors)}))

    def send(self, endpoint, data):
        """Send an answer, or what becomes of it."""
        fate = chance.random() if endpoint in ("asample", "retrieve_future") else 1.0
        if self.transport.is_closing():
            return
        if fate < 0.02:
            self.transport.write(whole("503 Service Unavailable", {"detail": "confused"}))
        elif fate < 0.03:
            self.transport.abort()
        elif fate < 0.04:
            self.transport.write(data[: len(data) // 2])
            self.transport.close()
        else:
            self.transport.write(data)


if __name__ == "__main__":
    asyncio.run(serve(Confused))
