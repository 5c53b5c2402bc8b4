"""Rows for tables: a line for each sequence or choice of a result, and one for a result without any."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tinkex.bulk._results.result import Result, ResultSequence

Line = dict[str, Any]

OF_A_ROW: Final = ("id", "model", "status", "prompt_logprob")
OF_A_SEQUENCE: Final = ("text", "stop_reason", "logprob", "mean_logprob")
OF_CHOICES: Final = ("best", "best_by_mean", "answer", "correct", "correct_by_mean")
ALWAYS: Final = (
    "id", "model", "status", "sequence", "text", "stop_reason", "sampled_tokens", "logprob", "mean_logprob",
    "prompt_logprob", "error",
)  # fmt: skip
SOMETIMES: Final = ("prompt", "messages", *OF_CHOICES)
"""Columns of a table only where a row has them."""
LISTS: Final = ("tokens", "logprobs")
RESERVED: Final = frozenset((*ALWAYS, *SOMETIMES, *LISTS))
_PREFIX: Final = "extra."


def lines_of(result: Result) -> Iterator[Line]:
    """Flatten a result; what is None is left out."""
    common: Line = {name: getattr(result, name) for name in (*OF_A_ROW, "prompt", *OF_CHOICES)}
    common["messages"] = None if result.messages is None else to_json(result.messages)
    common["error"] = result.error and f"{result.error['type']}: {result.error['message']}"
    common |= {column_name(name): _cell(value) for name, value in result.extra.items()}
    texts: Iterable[ResultSequence | None] = [*result.sequences, *result.choices] or [None]
    for number, one in enumerate(texts):
        line = {**common, "sequence": number}
        if one is None:
            del line["sequence"]
        else:
            line |= {name: getattr(one, name) for name in (*OF_A_SEQUENCE, *LISTS)}
            line["sampled_tokens"] = one.length
        yield {name: value for name, value in line.items() if value is not None}


def columns_of(lines: Iterable[Line]) -> list[str]:
    """Return the columns of a table of these lines; the caller's come last, in the order they are found in."""
    found = dict.fromkeys(name for line in lines for name in line)
    own = [name for name in found if name not in RESERVED]
    return [*ALWAYS, *LISTS, *(name for name in SOMETIMES if name in found), *own]


def column_name(name: str) -> str:
    """Return the name of a table's column for one of the caller's own, which may not hide one of tinkex's.

    >>> column_name("topic"), column_name("text")
    ('topic', 'extra.text')
    """
    return _PREFIX + name if name in RESERVED or name.startswith(_PREFIX) else name


def own_name(column: str) -> str:
    """Return the caller's name of a column: the reverse of `column_name`."""
    return column.removeprefix(_PREFIX)


def to_json(value: Any) -> str:
    """Encode what a cell cannot hold as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _cell(value: Any) -> Any:
    return to_json(value) if isinstance(value, dict | list) else value
