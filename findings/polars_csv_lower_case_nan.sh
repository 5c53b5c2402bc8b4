#!/usr/bin/env bash
# One "nan" makes Polars read a column of numbers as text; "NaN" does not, and "-inf" does not either. Python's csv module,
# which writes str(float), writes "nan". pandas, DuckDB and PyArrow read both. Exits with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "polars==2.1.0" "pandas==3.0.0"
"$folder/venv/bin/python" - <<'PYTHON'
import csv
import io
import sys

import pandas as pd
import polars as pl

written = io.StringIO()
csv.writer(written).writerows([["logprob"], [-1.5], [float("-inf")], [float("nan")]])
text = written.getvalue()
lower = pl.read_csv(io.BytesIO(text.encode()))["logprob"]
upper = pl.read_csv(io.BytesIO(text.replace("nan", "NaN").encode()))["logprob"]
print("polars", pl.__version__, "pandas", pd.__version__)
print("the csv module writes", text.split())
print("polars, nan:", lower.dtype, lower.to_list())
print("polars, NaN:", upper.dtype, upper.to_list())
print("pandas, nan:", pd.read_csv(io.StringIO(text))["logprob"].tolist())
changed = (lower.dtype, upper.dtype) != (pl.String, pl.Float64)
print("changed" if changed else "as found: one nan turns the column into text")
sys.exit(changed)
PYTHON
