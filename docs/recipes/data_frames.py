"""Results as data frames: means by a column of your own with pandas, the likeliest answer to each with Polars."""

from typing import Any

import tinkex
from tinkex import bulk

CITIES = {"Europe": ["France", "Italy", "Poland"], "Asia": ["Japan", "China", "Nepal"]}

rows = [
    {"id": country, "continent": continent, "prompt": f"The capital of {country} is the city of"}
    for continent, countries in CITIES.items()
    for country in countries
]
with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    bulk.run(rows, "capitals.jsonl", client, max_tokens=4, num_samples=4, seed=1)
answers: Any = bulk.read("capitals.jsonl").to_pandas()
print(answers.groupby("continent")[["logprob", "mean_logprob"]].mean().round(1).to_string())
table: Any = bulk.read("capitals.jsonl").to_polars()
best = table.sort("mean_logprob").group_by("id", maintain_order=True).last()
print(*best.sort("id").select("id", "text", "mean_logprob").iter_rows(), sep="\n")
