"""Keep a run to a rate and to a sum of money: ``python budget.py prompts.jsonl answers.jsonl``; again, it goes on."""

import sys
import threading

import tinkex
from tinkex import bulk

BUDGET = 0.0001  # in the currency of the prices
PRICES = bulk.Prices.from_dict({"*": {"prompt": 0.10, "sampled": 0.40}})  # for a million tokens
LIMITS = bulk.Limits(requests_per_minute=600, tokens_per_minute=100_000, max_in_flight=8)

source, target = sys.argv[1:]
halt = threading.Event()


def watch(progress: bulk.Progress) -> None:
    """Begin no more rows once the money is spent; those in flight end."""
    if (progress.cost or 0.0) >= BUDGET:
        halt.set()


with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    summary = bulk.run(
        source, target, client, max_tokens=32, prices=PRICES, limits=LIMITS, halt=halt, on_progress=watch
    )
print(f"{summary.done} done, {summary.skipped} there before, {summary.cost:.6f} spent")
print("stopped by the budget" if summary.interrupted else "all done")
