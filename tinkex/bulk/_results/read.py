"""`read`: the rows of an output, in any format that `run` writes."""

from __future__ import annotations

import gzip
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from tinkex._validation.public_names import with_public_names
from tinkex.bulk._results.accuracy import Accuracy
from tinkex.bulk._results.csv_table import read_csv
from tinkex.bulk._results.frames import arrow_table
from tinkex.bulk._results.parquet_table import read_parquet
from tinkex.bulk._results.records import json_records
from tinkex.bulk._results.result import Result

TABLES: Final = (".csv", ".parquet")
"""The suffixes of outputs that are made of the rows at the end of a run."""


def rows_file(table: pathlib.Path) -> pathlib.Path:
    """Return the path of the JSON lines that a table is made of, and that a later run resumes from."""
    return table.with_name(table.name + ".jsonl")


def read(path: str | os.PathLike[str]) -> Results:
    """Return the rows of an output, to iterate over: see `Results`.

    Args:
        path: JSON lines, CSV or Parquet that `run` wrote, by its name; the first two also compressed (``.gz``). In the
            place of a table that is not there yet, the rows it will be made of are read.

    Raises FileNotFoundError.

    >>> import tempfile, tinkex
    >>> from tinkex import bulk
    >>> from tinkex.testing import FakeServer
    >>> output = pathlib.Path(tempfile.mkdtemp()) / "answers.jsonl"
    >>> with FakeServer() as server, tinkex.ServiceClient(base_url=server.url) as service:
    ...     client = service.create_sampling_client(base_model="any/model")
    ...     _ = bulk.run([{"id": "a", "prompt": [1, 2], "topic": "x"}], output, client, max_tokens=2, omit=["text"])
    >>> for result in bulk.read(output):
    ...     print(result.id, result.ok, result.extra["topic"], len(result.sequences[0].tokens))
    a True x 2
    """
    path = pathlib.Path(path)
    if path.suffix in TABLES and not path.exists() and rows_file(path).exists():
        path = rows_file(path)
    path.stat()
    return Results(path)


@with_public_names
class Results:
    """The rows of an output. Each iteration reads the file anew, one row at a time, and yields `Result` objects.

    A last line that is torn, as of a run that goes on, is left out. ValueError where the file is no output of a batch.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Result]:
        suffixes = [suffix for suffix in self._path.suffixes if suffix != ".gz"]
        if suffixes[-1:] == [".parquet"]:
            yield from map(Result.from_record, read_parquet(self._path))
            return
        with self._open() as file:
            if suffixes[-1:] == [".csv"]:
                with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
                    yield from read_csv(text)
            else:
                yield from map(Result.from_record, json_records(file, str(self._path)))

    def accuracy(self) -> Accuracy:
        """Return the accuracy over all rows that score choices."""
        counted = Accuracy()
        for result in self:
            counted.add({name: getattr(result, name) for name in ("answer", "correct", "correct_by_mean")})
        return counted

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table``: a line for each sequence or choice, and one for a row without any.

        The columns: ``id``, ``model``, ``status``, the index of the ``sequence``, its ``text``, ``stop_reason``,
        ``sampled_tokens`` (how many), the sum of its log-probabilities ``logprob`` and their mean ``mean_logprob``,
        ``prompt_logprob``, ``error``, ``tokens`` and ``logprobs``; where a row has them ``prompt``, ``messages`` (as
        JSON) and what is known of choices; and the caller's own ones, as ``extra.NAME`` where a name is taken.
        All of it is in memory. Needs the ``parquet`` extra.
        """
        return arrow_table(self)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with the columns of `to_arrow`; needs pandas as well."""
        table = self.to_arrow()
        import pandas as pd
        import pyarrow as pa

        nullable: dict[Any, Any] = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        return table.to_pandas(types_mapper=nullable.get)

    def to_polars(self) -> Any:
        """Return a ``polars.DataFrame`` with the columns of `to_arrow`; needs polars as well."""
        table = self.to_arrow()
        import polars as pl

        return pl.from_arrow(table)

    def _open(self) -> BinaryIO:
        if self._path.suffix == ".gz":
            return cast("BinaryIO", gzip.open(self._path, "rb"))
        return self._path.open("rb")
