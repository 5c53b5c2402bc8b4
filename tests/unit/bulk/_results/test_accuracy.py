from __future__ import annotations

import math

from tinkex import bulk
from tinkex.bulk import Row, Task
from tinkex.bulk._output.json_lines import encode_line
from tinkex.bulk._output.record import choice_columns
from tinkex.bulk._progress import Tally

RIGHT, WRONG, IMPOSSIBLE, UNKNOWN = [-1.0], [-2.0, -0.5], [-math.inf], [math.nan]


def record(number, answer, *logprobs):
    """A record of scored choices."""
    columns = choice_columns([(None, range(len(each)), each) for each in logprobs], answer)
    return {
        "id": number, "model": "m", "fingerprint": "0", "status": "ok", "parameters": {}, "sequences": [], **columns,
        "usage": None, "error": None,
    }  # fmt: skip


ROWS = [
    record(1, 0, RIGHT, WRONG), record(2, 1, RIGHT, WRONG), record(3, 1, [-1.5], [-1.0, -1.0]),
    record(4, 0, IMPOSSIBLE, IMPOSSIBLE), record(5, 0, UNKNOWN, RIGHT), record(6, None, RIGHT, WRONG),
]  # fmt: skip


def test_summary():
    """A run counts the rows that tell the right choice: an impossible one is wrong, an unknown one undecided."""
    tally = Tally(None)
    for row in ROWS:
        tally.add(Task(0, Row(1, row["id"]), "m", {}, "0"), row)
    found = tally.accuracy
    assert (found.rows, found.correct, found.correct_by_mean, found.undecided) == (4, 1, 2, 1)
    assert (found.accuracy, found.accuracy_by_mean) == (0.25, 0.5)


def test_of_a_file(tmp_path):
    """The accuracy over a whole output is the same, in whatever format."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"".join(map(encode_line, ROWS)))
    found = bulk.read(path).accuracy()
    assert (found.rows, found.correct, found.correct_by_mean, found.undecided) == (4, 1, 2, 1)
    assert math.isnan(bulk.Accuracy().accuracy)
