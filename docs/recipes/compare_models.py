"""Give two models the same file and compare: ``python compare_models.py MODEL_A MODEL_B prompts.jsonl``."""

import pathlib
import statistics
import sys

import tinkex
from tinkex import bulk
from tinkex.report import batch_report

*models, prompts = sys.argv[1:]
with tinkex.ServiceClient() as service:
    clients = {name: service.create_sampling_client(base_model=name) for name in models}
    bulk.run(prompts, "both.jsonl", clients, max_tokens=64, temperature=0.0)
answers = [(row.model, row.sequences[0]) for row in bulk.read("both.jsonl") if row.ok]
for model in models:
    mine = [answer for name, answer in answers if name == model]
    length = statistics.fmean(answer.length or 0 for answer in mine)
    mean = statistics.fmean(answer.mean_logprob or 0.0 for answer in mine)
    print(f"{model}: {len(mine)} answers of {length:.0f} tokens, {mean:.2f} per token")
pathlib.Path("both.html").write_text(batch_report("both.jsonl", title=" and ".join(models)), encoding="utf-8")
