"""Tasks of lm-eval over five rows: one that is scored, one that is written, one that is read for its perplexity."""

from __future__ import annotations

import json

ROWS = [("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Japan", "Tokyo"), ("Egypt", "Cairo")]
OTHERS = ["Berlin", "Oslo"]
_TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
{rest}
"""
_TASKS = {
    "capitals": """
output_type: multiple_choice
doc_to_text: "The capital of {{country}} is"
doc_to_target: 0
doc_to_choice: choices
metric_list: [{metric: acc}]
""",
    "capitals_written": """
output_type: generate_until
doc_to_text: "The capital of {{country}} is"
doc_to_target: " {{city}}"
generation_kwargs: {until: [".", "\\n"], max_gen_toks: 6, temperature: 0.0, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "capitals_read": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "The capital of {{country}} is {{city}}."
metric_list: [{metric: word_perplexity}]
""",
}


def write_tasks(folder):
    """Write the tasks into a folder."""
    folder.mkdir()
    data = folder / "capitals.jsonl"
    rows = [{"country": country, "city": city, "choices": [city, *OTHERS]} for country, city in ROWS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, rest in _TASKS.items():
        (folder / f"{name}.yaml").write_text(_TASK.format(name=name, data=data, rest=rest))


def logged_samples(folder, task):
    """The samples of a task that lm-eval has logged below a folder."""
    (path,) = folder.glob(f"**/samples_{task}_2*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]
