from __future__ import annotations

import math

from small_tokenizers import END, sentencepiece

from tinkex.cli.output.tokens import token_rows
from tinkex.tokenizers import get_tokenizer
from tinkex.types import TopkLogprobs


def test_alternatives_are_spelled_like_the_token():
    """An alternative keeps the space it would bring, and a special token its name."""
    inner = sentencepiece()
    true, yes, end = (inner.token_to_id(piece) for piece in ("▁true", "▁yes", END))
    topk = TopkLogprobs([[(true, -0.5), (end, -1.0)], [(true, -0.5), (yes, -1.0)]])
    rows = token_rows(get_tokenizer(inner), [true, yes], [-0.5, -math.inf], topk)
    assert [row.text for row in rows] == ["true", " yes"]
    assert [[text for text, _ in row.likeliest] for row in rows] == [["true", END], [" true", " yes"]]
    assert rows[1].cells()[1] == "-inf"


def test_unknown_numbers():
    """What the server did not tell is shown as a dash, whether it is None or NaN."""
    assert [row.cells()[1] for row in token_rows(None, [1, 2, 3], [None, math.nan, -0.25])] == ["-", "-", "-0.2500"]
