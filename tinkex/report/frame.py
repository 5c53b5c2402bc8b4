"""Jinja2 templates of the pages, with autoescaping."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jinja2

from tinkex import __version__
from tinkex.report._shown import shortened, shown
from tinkex.report.spelling import amount, duration, figures, percent
from tinkex.report.tokens import visible

_LONGEST_MESSAGE = 2000


def fill(template: str, **words: Any) -> str:
    """Render one template; a missing variable is an error."""
    return _templates().get_template(template).render(version=__version__, **words)


@cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("tinkex.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., str]] = {
        "amount": amount,
        "duration": duration,
        "figures": figures,
        "percent": percent,
        "short": lambda text: shortened(text, _LONGEST_MESSAGE),
        "shown": shown,
        "visible": visible,
    }
    made.filters.update(filters)
    return made
