"""lm-eval samples through tinkex: ``python -m tinkex.lm_eval``, or `TinkexLM` in a program of your own.

It needs the ``lm-eval`` extra.
"""

from __future__ import annotations

from tinkex.errors import extra

with extra("lm-eval", "tinkex.lm_eval"):
    from tinkex.lm_eval.model import TinkexLM

__all__ = ["TinkexLM"]


def __dir__() -> list[str]:
    return sorted(__all__)
