"""Log-probabilities in OpenAI's and vLLM's forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve, frozen

from tinkex.chat.openai_format import SpelledToken, spell_token
from tinkex.serve.errors import GatewayError
from tinkex.tokenizers import TokenPieces, token_runs
from tinkex.types import SampledSequence

Cell = tuple[int, float | None]
Rows = Sequence[Sequence[Cell] | None]


@frozen
class ScoredTokens:
    """Tokens of a prompt or a sample, with numbers as JSON has them: one for each token, and perhaps the likeliest."""

    tokens: Sequence[int]
    logprobs: Sequence[float | None]
    rows: Rows | None = None

    @classmethod
    def of(cls, sequence: SampledSequence) -> ScoredTokens:
        """Return the tokens of a sample.

        Raises:
            GatewayError: 400: the server gave no log-probabilities.
        """
        plain = sequence.to_dict()
        if plain.get("logprobs") is None and plain["tokens"]:
            raise GatewayError(400, "logprobs: the server gives none for sampled tokens.", "logprobs")
        return cls(plain["tokens"], plain.get("logprobs") or [], plain.get("topk_logprobs"))

    def spelled(
        self, pieces: TokenPieces | None, top: int, *, by_id: bool = False, first: bool = True
    ) -> list[SpelledToken]:
        """Spell the tokens, each with up to `top` of the likeliest in its place; 0 for none.

        Args:
            pieces: The pieces of the vocabulary; None where there is no tokenizer.
            top: How many of the likeliest.
            by_id: Whether tokens go by their ids.
            first: Whether the first one stands at the beginning of a text.
        """
        spelling = None if by_id else pieces
        made = []
        for place, (token, logprob, row) in enumerate(self._cells()):
            at_beginning = first and place == 0
            own = spell_token(spelling, token, logprob, first=at_beginning)
            others = None
            if top and row is not None:
                others = tuple(spell_token(spelling, *cell, first=at_beginning) for cell in row[:top])
            made.append(evolve(own, alternatives=others) if others is not None else own)
        return made

    def by_position(self, pieces: TokenPieces | None, top: int) -> list[dict[str, Any] | None]:
        """Return vLLM's ``prompt_logprobs``: an object a position, in which the prompt's own token stands first."""
        made: list[dict[str, Any] | None] = []
        for place, (token, logprob, row) in enumerate(self._cells()):
            if logprob is None and not row:
                made.append(None)
                continue
            ranks = {cell[0]: rank for rank, cell in enumerate(row or (), 1)}
            cells = [(token, logprob), *(cell for cell in (row or ())[:top] if cell[0] != token)]
            made.append(
                {
                    str(other): {
                        "logprob": number,
                        "rank": ranks.get(other),
                        "decoded_token": spell_token(pieces, other, number, first=place == 0).text,
                    }
                    for other, number in cells
                }
            )
        return made

    def _cells(self) -> list[tuple[int, float | None, Sequence[Cell] | None]]:
        """Return token, number and row of each position: where a token is in its row, both have the same number."""
        rows = self.rows or [None] * len(self.tokens)
        made: list[tuple[int, float | None, Sequence[Cell] | None]] = []
        for token, logprob, row in zip(self.tokens, self.logprobs, rows, strict=True):
            number = logprob
            if number is None and row:
                number = dict(row).get(token)
            same = row and [(other, number if other == token else its) for other, its in row]
            made.append((token, number, same))
        return made


def text_offsets(tokens: Sequence[int], decode: Callable[[list[int]], str], start: int = 0) -> list[int]:
    """Return where in the text each token begins; those that make up a character together begin where it does."""
    offsets: list[int] = []
    at = start
    for begin, end, text in token_runs(tokens, lambda ids: decode(list(ids))):
        offsets += [at] * (end - begin)
        at += len(text)
    return offsets
