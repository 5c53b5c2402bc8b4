"""Results as an Arrow table, from which data-frame libraries make their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinkex.bulk._results.lines import Line, columns_of, lines_of, to_json
from tinkex.bulk._results.result import Result
from tinkex.errors import extra


def arrow_table(results: Iterable[Result]) -> Any:
    """Make an Arrow table with a line for each sequence or choice.

    A column of the caller's has the type of its values, or text where they are of several. MissingExtraError without
    pyarrow.
    """
    with extra("parquet", "A table of results"):
        import pyarrow as pa
    lines = [line for result in results for line in lines_of(result)]
    types = {
        **dict.fromkeys(("model", "status", "text", "stop_reason", "error", "prompt", "messages"), pa.string()),
        **dict.fromkeys(("sequence", "sampled_tokens", "best", "best_by_mean", "answer"), pa.int64()),
        **dict.fromkeys(("logprob", "mean_logprob", "prompt_logprob"), pa.float64()),
        **dict.fromkeys(("correct", "correct_by_mean"), pa.bool_()),
        "tokens": pa.list_(pa.int64()), "logprobs": pa.list_(pa.float64()),
    }  # fmt: skip
    return pa.table({name: _array(pa, lines, name, types.get(name)) for name in columns_of(lines)})


def _array(pa: Any, lines: list[Line], name: str, type: Any) -> Any:
    values = [line.get(name) for line in lines]
    try:
        made = pa.array(values, type)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.array([None if value is None else _cell_string(value) for value in values], pa.string())
    return made.cast(pa.string()) if made.type == pa.null() else made


def _cell_string(value: Any) -> str:
    text = value if isinstance(value, str) else to_json(value)
    return text.encode("utf-8", "backslashreplace").decode()  # lone surrogates
