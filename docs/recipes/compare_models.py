"""Give two models the same prompts, and compare their answers."""

import pathlib
import statistics

import tinkex
from tinkex import bulk
from tinkex.report import batch_report
from tinkex.testing import FakeServer

MODELS = {"model/one": "Paris.", "model/two": "I think that it is Paris."}  # what the fake server answers for each
PROMPTS = [{"prompt": f"The capital of {country} is"} for country in ("France", "Italy", "Japan")]  # or a file's path

with (
    FakeServer(answers=MODELS) as server,
    tinkex.ServiceClient.direct(server.url) as service,  # the hosted service: tinkex.ServiceClient()
):
    clients = {name: service.create_sampling_client(base_model=name) for name in MODELS}
    bulk.run(PROMPTS, "both.jsonl", clients, max_tokens=64, temperature=0.0)
answers = [(row.model, row.sequences[0]) for row in bulk.read("both.jsonl") if row.ok]
for model in MODELS:
    mine = [answer for name, answer in answers if name == model]
    length = statistics.fmean(answer.length or 0 for answer in mine)
    mean = statistics.fmean(answer.mean_logprob or 0.0 for answer in mine)
    print(f"{model}: {len(mine)} answers of {length:.0f} tokens, {mean:.2f} per token")
pathlib.Path("both.html").write_text(batch_report("both.jsonl", title=" and ".join(MODELS)), encoding="utf-8")
