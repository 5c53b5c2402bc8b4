"""Timing of one sample: time to first token, tokens a second."""

from __future__ import annotations

from attrs import frozen

from tinkex._validation.field_docs import with_field_docs


@with_field_docs
@frozen
class SampleReport:
    """Timing of one sample, measured by the local server.

    *first_token* is the time in seconds from the start of the computation to the first token of the answer, which is
    the prompt's; *rest* is the time in seconds after that. *sampled_tokens* counts all of a request's sequences.
    """

    prompt_tokens: int
    """Tokens of the prompt."""
    sampled_tokens: int
    first_token: float
    rest: float

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens a second after the first one; None when too few were sampled to tell."""
        return self.sampled_tokens / self.rest if self.rest > 0 and self.sampled_tokens > 1 else None

    def __str__(self) -> str:
        rate = self.tokens_per_second
        then = f", then {rate:.3g} tokens/s" if rate else ""
        return (
            f"{self.prompt_tokens} prompt tokens, first token after {self.first_token:.2f} s{then}"
            f" ({self.sampled_tokens} sampled)"
        )
