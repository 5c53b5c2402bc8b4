"""Reader of Parquet files and of Arrow's tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tinkex.bulk._input.rows import PROMPTS, parse_row
from tinkex.bulk._input.task import InputError, LineId, Row


def parquet_library() -> Any:
    """Return pyarrow's Parquet module; ModuleNotFoundError says what to install."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Parquet files need pyarrow. Run: pip install 'tinkex[parquet]'") from None
    return pyarrow.parquet


def parquet_rows(path: str | os.PathLike[str], tell: Callable[[int, int], None]) -> Iterator[Row]:
    """Yield the rows of a file; `tell` is called with the rows read and the rows there are.

    Raises InputError where it is no Parquet file, or not one of prompts.
    """
    library = parquet_library()
    import pyarrow as pa

    try:
        file = library.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{os.fspath(path)} is not a Parquet file: {error}") from None
    with file:
        _check_names(file.schema_arrow.names)
        number, every = 0, file.metadata.num_rows
        for batch in file.iter_batches(batch_size=64):
            for data in dicts(batch):
                number += 1
                tell(number, every)
                yield parse_arrow(number, data)


def check_once(names: Sequence[str]) -> None:
    """Refuse a table in which two columns have one name, since a row can have the value of one of them only."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(f"The column {twice[0]!r} comes twice. Give each a name of its own.")


def _check_names(names: Sequence[str]) -> None:
    check_once(names)
    if not {*PROMPTS, "body"} & set(names):
        raise InputError(f"No column is called {', '.join(PROMPTS)}: there are {', '.join(names)[:300]}.")


def dicts(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Yield the rows of a batch as mappings, or what is wrong with one that cannot be one."""
    try:
        yield from batch.to_pylist(maps_as_pydicts="strict")
    except (KeyError, ValueError):  # one of them has a key twice
        for at in range(batch.num_rows):
            try:
                yield batch.slice(at, 1).to_pylist(maps_as_pydicts="strict")[0]
            except (KeyError, ValueError) as error:
                yield str(error)


def parse_arrow(number: int, data: dict[str, Any] | str) -> Row:
    """Parse a row of an Arrow table, as `dicts` gives it."""
    if isinstance(data, str):
        return Row(number, LineId(f"line {number}"), problem=f"The row cannot be read: {data}.")
    return parse_row(number, data, of_table=True)
