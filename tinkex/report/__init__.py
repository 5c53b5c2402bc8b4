"""HTML reports: the outcome of a batch or a check, and texts coloured by the log-probability of each token.

A page is complete in itself: it holds no script and asks the network for nothing. `logprobs_report` and
`check_report` need jinja2 (the ``chat`` and ``cli`` extras bring it), `batch_report` the ``report`` extra.
"""

from __future__ import annotations

import functools
import gzip
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final, cast

from tinkex.errors import extra
from tinkex.report.tokens import Alternatives, Decode
from tinkex.tokenizers import get_tokenizer, tokenizer_at_hand

__all__ = ["batch_report", "check_report", "logprobs_report"]

_TABLES: Final = (".csv", ".parquet")


def batch_report(
    output: str | os.PathLike[str], *, tokenizer: object = None, samples: int = 12, title: str | None = None,
    where: Mapping[str, object] | None = None,
) -> str:  # fmt: skip
    """Return a page about the output of a batch, finished or not; it is read as a stream, in bounded memory.

    Args:
        output: The JSON lines that ``tinkex batch run`` wrote, in either format, also compressed (``.gz``); or a table,
            beside which they stand. Lines that are no rows are counted.
        tokenizer: What shows tokens as text: a name, a path or an object with `encode` and `decode`. None: each model's
            own if this machine has it already; else the tokens are shown as numbers, beside the text.
        samples: How many rows to show, drawn at random; the longest, the slowest and the like are shown as well.
            Of several models those that answered the same id are shown side by side.
        title: What to call it; None for the name of the file.
        where: Which rows it is about: the wanted value, or a list of values, of columns of your own, or of "model",
            "id" or "status". None: all rows.

    Raises OSError for a file that cannot be read, MissingExtraError without the ``report`` extra.
    """
    with extra("report", "batch_report"):
        from tinkex.report.batch import batch_page
    from tinkex.report.data.scan import Scan
    from tinkex.report.data.where import RowFilter

    path = pathlib.Path(output)
    rows = path.with_name(path.name + ".jsonl")
    scan = Scan(samples, RowFilter.make(where))
    with _open(rows if path.suffix in _TABLES and rows.exists() else path) as lines:
        scan.read(lines)
    return batch_page(scan, title or path.name, functools.cache(lambda model: _decoder(tokenizer, model)))


def logprobs_report(
    ids: Sequence[int],
    logprobs: Sequence[float | None] | None,
    tokenizer: object,
    *,
    alternatives: Sequence[Alternatives | None] | None = None,
    title: str = "Log-probabilities",
    model: str = "",
) -> str:
    """Return a page with one text, each token coloured by its log-probability.

    Args:
        ids: The tokens.
        logprobs: A natural log-probability a token, None where it is not known: what `compute_logprobs` gives.
        tokenizer: A model's name, a path, or an object with `encode` and `decode`.
        alternatives: What else could have stood in each place, likeliest first: rows of `topk_prompt_logprobs`.
        title: The heading.
        model: The name to put under it.

    Raises TokenizerError where there is no tokenizer to be had, MissingExtraError without jinja2.
    """
    from tinkex.report.tokens import read_tokens

    with extra("chat", "logprobs_report"):
        from tinkex.report.tokens_page import tokens_page

    return tokens_page(read_tokens(ids, logprobs, get_tokenizer(tokenizer).decode, alternatives), title, model)


def check_report(report: Mapping[str, Any]) -> str:
    """Return a page about a check of a server.

    Args:
        report: What ``ServerReport.to_dict()`` returns, or ``tinkex check --json`` prints.

    Raises MissingExtraError without jinja2.
    """
    with extra("chat", "check_report"):
        from tinkex.report.check_page import check_page

    return check_page(report)


def _open(path: pathlib.Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _decoder(tokenizer: object, model: str) -> Decode | None:
    if tokenizer is not None:
        return get_tokenizer(tokenizer).decode
    found = tokenizer_at_hand(model)
    return None if found is None else found.decode


def __dir__() -> list[str]:
    return sorted(__all__)
