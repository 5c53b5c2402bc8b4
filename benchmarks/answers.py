"""What the load server answers, prepared as bytes: results as JSON or protobuf, every sample alike."""

from __future__ import annotations

import functools
import json
import random
from array import array
from collections.abc import Iterable

_STOPPED_AT_LENGTH = b"\x08\x01"


def http_answer(body: bytes, kind: bytes = b"application/json") -> bytes:
    """A complete answer with status 200."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body)


class Answers:
    """Results of sequences of so many tokens of a vocabulary, with their log-probabilities."""

    def __init__(self, tokens: int, vocabulary: int = 150_000) -> None:
        self._tokens = tokens
        self._vocabulary = vocabulary
        self.result = functools.cache(self._result)

    def _result(self, count: int, scored: int, *, protobuf: bool) -> bytes:
        draw, tokens = random.Random(7), range(self._tokens)
        sequences = [
            ([draw.randrange(self._vocabulary) for _ in tokens], [-5 * draw.random() for _ in tokens])
            for _ in range(count)
        ]
        prompt = [float("nan"), *(-5 * draw.random() for _ in range(scored - 1))] if scored else []
        if protobuf:
            return http_answer(_as_protobuf(sequences, prompt), b"application/x-protobuf")
        return http_answer(_as_json(sequences, prompt))


def _as_json(sequences: list[tuple[list[int], list[float]]], prompt: list[float]) -> bytes:
    result = {
        "type": "sample",
        "sequences": [
            {"stop_reason": "length", "tokens": tokens, "logprobs": logprobs} for tokens, logprobs in sequences
        ],
    }
    if prompt:
        result["prompt_logprobs"] = [None, *prompt[1:]]
    return json.dumps(result).encode()


def _as_protobuf(sequences: list[tuple[list[int], list[float]]], prompt: list[float]) -> bytes:
    message = b"".join(
        _field(1, _STOPPED_AT_LENGTH + _field(2, _packed("i", tokens)) + _field(3, _packed("f", logprobs)))
        for tokens, logprobs in sequences
    )
    return message + (_field(2, _packed("f", prompt)) if prompt else b"")


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _packed(kind: str, values: Iterable[float]) -> bytes:
    """As the machine holds them, which is little-endian on every machine this runs on."""
    return array(kind, values).tobytes()
