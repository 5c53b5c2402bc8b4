"""Text in, text out: results of `SamplingClient.complete`, `chat` and `score`, and what they are made with."""

from __future__ import annotations

from tinkex.text.codec import TextCodec
from tinkex.text.responses import ChatResponse, SampledAnswer, SampledText, TextResponse
from tinkex.text.scores import ScoredText, ScoreResponse

__all__ = ["ChatResponse", "SampledAnswer", "SampledText", "ScoreResponse", "ScoredText", "TextCodec", "TextResponse"]


def __dir__() -> list[str]:
    return sorted(__all__)
