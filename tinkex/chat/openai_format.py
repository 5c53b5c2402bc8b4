"""OpenAI's wire format: fields that change nothing, token usage, and the two forms of log-probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from tinkex.tokenizers import TokenPieces

HARMLESS_FIELDS: Final = frozenset({
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
})  # fmt: skip
"""Fields of a request that have no effect on what is sampled, whatever they hold."""
NEUTRAL_VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "response_format": ({"type": "text"},),
    "tool_choice": ("auto", "none"), "suffix": ("",), "min_p": (0,), "repetition_penalty": (1,),
    "parallel_tool_calls": (True,), "modalities": (["text"],), "min_tokens": (0,), "functions": ([],),
    "function_call": ("auto", "none"), "verbosity": ("medium",), "length_penalty": (1,), "use_beam_search": (False,),
    "ignore_eos": (False,), "typical_p": (1,), "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,), "include_stop_str_in_output": (False,),
    "include_reasoning": (True,), "best_of": (1,), "bad_words": ([],), "documents": ([],), "priority": (0,),
}  # fmt: skip
"""Values that change nothing: defaults of OpenAI's API and of the servers that speak it, which clients write out."""


def usage_object(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
    """Return the ``usage`` of an answer."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def text_before_stop(text: str, stops: Iterable[object]) -> tuple[str, bool]:
    """Return the text in front of the first stop text, which OpenAI's answers end before, and whether one came."""
    places = [place for each in stops if isinstance(each, str) and (place := text.find(each)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


@attrs.frozen
class SpelledToken:
    """A token with its log-probability as OpenAI's formats have it; `piece` is None where its bytes are not known."""

    id: int
    logprob: float | None
    text: str
    piece: bytes | None
    alternatives: tuple[SpelledToken, ...] | None = None
    """The likeliest tokens in its place; None where they were not asked for."""

    @property
    def unique_text(self) -> str:
        """The text, or the bytes of a part of a character, as the older of the two formats marks them."""
        return f"bytes:{self.text}" if self.piece and self.piece.decode(errors="ignore") != self.text else self.text


def spell_token(pieces: TokenPieces | None, token: int, logprob: float | None, *, first: bool) -> SpelledToken:
    """Spell a token; by its id where there is no tokenizer, or it does not have the token.

    Args:
        pieces: The pieces of the vocabulary.
        token: Its id.
        logprob: Its log-probability.
        first: Whether it stands at the beginning of a text.
    """
    try:
        if pieces is not None:
            return SpelledToken(token, logprob, pieces.text_of(token, first=first), pieces.bytes_of(token, first=first))
    except Exception:  # noqa: BLE001, S110 - a token that this tokenizer does not have
        pass
    return SpelledToken(token, logprob, token_by_id(token), None)


def token_by_id(token: int) -> str:
    """Return what a token goes by that has no text, or none of its own."""
    return f"token_id:{token}"


def chat_logprobs(tokens: Iterable[SpelledToken]) -> dict[str, Any]:
    """Return the ``logprobs`` of a chat completion."""
    content = [
        {**_scored(each), "top_logprobs": [_scored(other) for other in each.alternatives or ()]} for each in tokens
    ]
    return {"content": content}


def _scored(token: SpelledToken) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": None if token.piece is None else list(token.piece)}


def completion_logprobs(tokens: Sequence[SpelledToken]) -> dict[str, Any]:
    """Return the ``logprobs`` of a text completion, without ``text_offset``."""
    asked = any(each.alternatives is not None for each in tokens)
    return {
        "tokens": [each.unique_text for each in tokens],
        "token_logprobs": [each.logprob for each in tokens],
        "top_logprobs": [_by_text(each) for each in tokens] if asked else None,
    }


def _by_text(token: SpelledToken) -> dict[str, float | None] | None:
    """Return the likeliest tokens by their texts, the sampled one among them; of equal texts the likeliest has it."""
    if token.alternatives is None:
        return None
    found: dict[str, float | None] = {}
    ids = {each.id for each in token.alternatives}
    for each in [*token.alternatives, *([] if token.id in ids else [token])]:
        found[each.unique_text if each.unique_text not in found else token_by_id(each.id)] = each.logprob
    return found
