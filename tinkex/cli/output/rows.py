"""Output of lists and records: a table where it fits, else one under another; tab-separated lines; JSON."""

from __future__ import annotations

import functools
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
import click

from tinkex.cli._app import with_options
from tinkex.cli._screen import console, print_json, print_text, table
from tinkex.errors import clean_text

Cell = str | int | float | bool | datetime | None
_GAP: Final = 2  # between two columns of a table
_FORMATS: Final = (
    click.option("--json", "as_json", is_flag=True, help="Print one line of JSON."),
    click.option("--jsonl", is_flag=True, help="Print JSON, a line for each."),
)
_LIMITS: Final = (
    click.option("-l", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Show so many at most."),
    click.option("-a", "--all", "everything", is_flag=True, help="Show all."),
)


@attrs.frozen
class Form:
    """Output format: JSON, JSON lines, or neither."""

    json: bool
    jsonl: bool


def form_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--json`` and ``--jsonl``; they arrive as one ``form``."""

    @functools.wraps(command)
    def with_form(*, as_json: bool, jsonl: bool, **options: Any) -> Any:
        return command(form=Form(as_json, jsonl), **options)

    return with_options(_FORMATS, with_form)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--limit`` and ``--all``; they arrive as one ``limit``, None for all."""

    @functools.wraps(command)
    def with_limit(*, limit: int, everything: bool, **options: Any) -> Any:
        return command(limit=None if everything else limit, **options)

    return with_options(_LIMITS, with_limit)


def take(listing: Iterable[Any], limit: int | None, show_progress: Callable[[str], None], what: str) -> list[Any]:
    """Read a list up to a limit, and show the progress."""
    items = []
    for item in itertools.islice(listing, limit):
        items.append(item)
        total = getattr(listing, "total", None)
        if len(items) % 20 == 0:
            show_progress(f"Fetching {what}: {len(items)}" + (f" of {total}" if total else ""))
    return items


def print_list(
    name: str, records: Sequence[Any], row: Callable[[Any], Mapping[str, Cell]], form: Form, total: int | None = None
) -> None:
    """Print records: as JSON with all that is known of each, else the `row` of each, the first cell standing out."""
    if form.json:
        print_json({name: [json_value(record) for record in records], "total": total})
    elif form.jsonl:
        for record in records:
            print_json(json_value(record))
    elif not records:
        click.echo(f"There are no {name.replace('_', ' ')}.", err=True)
    else:
        _print_rows([row(record) for record in records])
        if total is not None and total > len(records) and sys.stderr.isatty():
            click.echo(f"{len(records)} of {total}: see more with --limit, or --all.", err=True)


def print_facts(facts: Mapping[str, Cell], record: Any, form: Form) -> None:
    """Print one record; what is None is left out."""
    if form.json or form.jsonl:
        print_json(json_value(record))
        return
    known = {name: shown for name, value in facts.items() if (shown := _cell_text(value))}
    if not sys.stdout.isatty():
        for name, words in known.items():
            print_text(f"{name}\t{words}")
        return
    from rich.table import Table
    from rich.text import Text

    drawn = Table.grid(padding=(0, _GAP))
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, words in known.items():
        drawn.add_row(name, Text(words))
    console().print(drawn)


def json_value(record: Any) -> Any:
    """Convert records, mappings and lists to JSON values; times in ISO 8601.

    >>> json_value([1.5, {"a": None}])
    [1.5, {'a': None}]
    """
    if attrs.has(type(record)):
        return {field.name: json_value(getattr(record, field.name)) for field in attrs.fields(type(record))}
    if isinstance(record, Mapping):
        return {str(name): json_value(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [json_value(value) for value in record]
    return record.isoformat() if isinstance(record, datetime) else record


def size(count: int | None) -> str | None:
    """Format a number of bytes.

    >>> size(41_943_040), size(999), size(None)
    ('41.9 MB', '999 B', None)
    """
    if count is None:
        return None
    amount, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 1000 and unit != "TB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.1f} {unit}" if unit != "B" else f"{count} B"


def _print_rows(rows: Sequence[Mapping[str, Cell]]) -> None:
    cells = [[_cell_text(value) for value in row.values()] for row in rows]
    if not sys.stdout.isatty():
        for line in cells:
            print_text("\t".join(line))
        return
    told = [any(column) for column in zip(*cells, strict=True)]
    names = list(itertools.compress(rows[0], told))
    cells = [list(itertools.compress(line, told)) for line in cells]
    if _width(names, cells) <= console().width:
        _print_table(names, cells)
    else:
        _print_blocks(names, cells)


def _width(names: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    from rich.cells import cell_len

    columns = zip(names, *cells, strict=True)
    return sum(max(map(cell_len, column)) for column in columns) + _GAP * (len(names) - 1)


def _print_table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.text import Text

    drawn = table(*names)
    for line in cells:
        drawn.add_row(*map(Text, line))
    console().print(drawn)


def _print_blocks(names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print each first cell on a line of its own, whole, so that it can be copied, and the other cells under it."""
    from rich.padding import Padding
    from rich.text import Text

    for first, *others in cells:
        console().print(Text(first, style="bold"), soft_wrap=True)
        facts = [f"{name} {words}" for name, words in zip(names[1:], others, strict=True) if words]
        if facts:
            console().print(Padding(Text(", ".join(facts), style="dim"), (0, 0, 0, 2)))


def _cell_text(value: Cell) -> str:
    """Format a cell: text on one line that neither steers a terminal nor ends a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    if isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=False) if value else ""
    return clean_text(str(value), 4000)
