"""Sandbox for chat templates: allow-list of operations, with bounds on memory and time.

A template is a program out of a downloaded file. It may use the filters, methods, tests and operators that chat
templates use (`operations`), and every text and list that one of them makes is counted (`budget`). The only importer of
jinja2.
"""

from __future__ import annotations

from tinkex.tokenizers._sandbox.budget import limited_time
from tinkex.tokenizers._sandbox.environment import (
    Sandbox,
    SecurityError,
    TemplateRefusedError,
    TemplateSyntaxError,
    check_format,
    variables_of,
)

__all__ = [
    "Sandbox",
    "SecurityError",
    "TemplateRefusedError",
    "TemplateSyntaxError",
    "check_format",
    "limited_time",
    "variables_of",
]
