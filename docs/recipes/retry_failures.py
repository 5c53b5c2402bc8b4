"""Run a file until nothing is left that may still go well: ``python retry_failures.py prompts.jsonl answers.jsonl``.

A run samples what the output has no result of, so that each further one tries the failures again, and nothing else.
"""

import sys
import time

import tinkex
from tinkex import bulk

source, target = sys.argv[1:]
with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    for wait in (1, 60, 600):
        summary = bulk.run(source, target, client, max_tokens=32, temperature=0.0)
        errors = {row.id: row.error for row in bulk.read(target) if row.error}
        print(f"{summary.done} done, {summary.failed} failed, {summary.skipped} there before")
        if not any(error["retryable"] for error in errors.values()):
            break
        time.sleep(wait)
for row, error in errors.items():
    print(f"{row}: {error['type']}: {error['message']}")
