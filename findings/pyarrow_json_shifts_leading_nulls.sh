#!/usr/bin/env bash
# PyArrow's JSON reader moves the numbers of lists that begin with null: into other places, and into other rows.
# Lists of log-probabilities of prompts begin so, since the first token has none. The reader raises nothing; a schema that
# is given to it avoids it. Upstream: https://github.com/apache/arrow/issues/51305. Exits with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pyarrow==26.0.1"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import pyarrow as pa
import pyarrow.json

LINES = b'{"logprobs": [null, -1.0, -0.5]}\n{"logprobs": [-2.0, null]}\n'
RIGHT = [[None, -1.0, -0.5], [-2.0, None]]

inferred = pa.json.read_json(io.BytesIO(LINES)).column("logprobs").to_pylist()
schema = pa.schema([("logprobs", pa.list_(pa.float64()))])
options = pa.json.ParseOptions(explicit_schema=schema)
told = pa.json.read_json(io.BytesIO(LINES), parse_options=options).column("logprobs").to_pylist()
print("pyarrow", pa.__version__)
print("the lines     ", LINES.decode().split("\n")[:2])
print("without schema", inferred)
print("with a schema ", told)
changed = inferred[0] != [-1.0, -0.5, -2.0] or told != RIGHT
print("changed" if changed else "as found: -2.0 of the second row stands in the first")
sys.exit(changed)
PYTHON
