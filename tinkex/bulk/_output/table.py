"""Output tables, made of the rows at the end of a run: Parquet, or CSV with a line for each answer."""

from __future__ import annotations

import io
import os
import pathlib

from tinkex.bulk._output.locked_file import create_file
from tinkex.bulk._results.csv_table import write_csv
from tinkex.bulk._results.parquet_table import write_parquet
from tinkex.bulk._results.read import read, rows_file


def write_table(table: pathlib.Path, *, escape_formulas: bool = False) -> None:
    """Make the table of its rows, atomically; not again if it is newer than they are, and nothing is to be escaped."""
    rows = rows_file(table)
    if not escape_formulas and table.exists() and table.stat().st_mtime_ns >= rows.stat().st_mtime_ns:
        return
    new = table.with_name(f".{table.name}.{os.getpid()}.new")
    try:
        with io.BufferedWriter(create_file(new)) as file:
            if table.suffix == ".csv":
                with io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="") as text:
                    write_csv(text, read(rows), escape_formulas=escape_formulas)
            else:
                with rows.open("rb") as lines:
                    write_parquet(file, lines)
        new.replace(table)
    finally:
        new.unlink(missing_ok=True)
