"""Runtime interface: prefill, branch, decode step, saved prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

#: Most sequences of one session.
MOST_SEQUENCES = 16


class KVState(Protocol):
    """Saved KV cache of a prompt, for the runtime that saved it."""

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""


class ModelSession(Protocol):
    """KV cache of one prompt and of the sequences that continue it.

    For one thread at a time. The same calls give the same numbers, independent of other sessions.
    """

    def prefill(self, tokens: Sequence[int], first: int) -> Rows:
        """Append at most `Runtime.prefill_chunk` tokens to the prompt; return the logits after those from *first*."""

    def branch(self, count: int) -> None:
        """Let sequences 0 to *count* - 1 continue the prompt; what they held before is dropped."""

    def step(self, tokens: Mapping[int, int]) -> Rows:
        """Append one token to each of the given sequences; return the logits after it, a row a sequence."""

    def save(self, limit: int) -> KVState | None:
        """Copy the KV cache of the prompt; None where it takes more bytes than *limit*."""

    def restore(self, state: Any, length: int) -> None:
        """Begin an empty prompt with the first *length* tokens of a saved one.

        The session must have cells for all tokens of the saved prompt.
        """

    def close(self) -> None:
        """Release the memory."""


class Runtime(Protocol):
    """A model, ready to compute. Safe to share between threads: the sessions take turns."""

    name: str
    """"ik" or "numpy"."""

    prefill_chunk: int
    """Most tokens of a prompt that go through the model in one call; a longer one goes in pieces."""

    warnings: Sequence[str]
    """What the user should know about this choice of runtime, or about the file in it."""

    def open(self, cells: int, sequences: int, check: Callable[[], None] = lambda: None) -> ModelSession:
        """Start a session with room for *cells* tokens in all, in at most so many sequences (`MOST_SEQUENCES`).

        It may wait until another session is closed; *check* is called now and then, and what it raises ends the wait.
        """
