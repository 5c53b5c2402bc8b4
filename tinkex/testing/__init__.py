"""Test doubles for code that samples: a fake server, deterministic answers, a manual clock.

It needs aiohttp, which comes with the ``test``, ``local`` and ``serve`` extras.
"""

from __future__ import annotations

from tinkex.errors import extra

with extra("test", "tinkex.testing"):
    from tinkex._server import EngineError, ServerOptions
    from tinkex.testing._answers import default_answer, expected_logprobs, expected_tokens
    from tinkex.testing._clock import ManualClock
    from tinkex.testing._fake import FakeServer
    from tinkex.testing._faults.plan import Fault, Plan
    from tinkex.testing._journal import RecordedRequest
    from tinkex.testing._process import FakeServerProcess
    from tinkex.testing._rules.rules import Violation
    from tinkex.testing._toy.model import ToyModel
    from tinkex.testing._toy.tokenizer import ToyTokenizer

__all__ = [
    "EngineError",
    "FakeServer",
    "FakeServerProcess",
    "Fault",
    "ManualClock",
    "Plan",
    "RecordedRequest",
    "ServerOptions",
    "ToyModel",
    "ToyTokenizer",
    "Violation",
    "default_answer",
    "expected_logprobs",
    "expected_tokens",
]


def __dir__() -> list[str]:
    return sorted(__all__)
