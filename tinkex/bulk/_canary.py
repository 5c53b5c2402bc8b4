"""Canary numbers of a run's models: kept beside the output, and compared when a later run goes on with it."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Final

from tinkex.bulk._output.record import error_of
from tinkex.check.canary import Canary, canary_prompts, compare_canaries, read_canaries, write_canaries
from tinkex.errors import TinkexError
from tinkex.sampling_client import SamplingClient

logger = logging.getLogger("tinkex")

_TIMEOUT: Final = 60.0
_PATIENCE: Final = 10.0  # at the end of a run


class Canaries:
    """Canary numbers of the models of one run; used by one thread, which they never hold up before `finish`.

    Args:
        output: The file of rows, beside which they are kept.
        resumed: Whether it has rows of an earlier run.
    """

    def __init__(self, output: pathlib.Path, *, resumed: bool) -> None:
        self.notes: list[str] = []
        """What is worth knowing, as sentences for the summary; logged as warnings, too."""
        self._output = output
        self._path: pathlib.Path | None = output.with_name(f"{output.name}.canary.json")
        self._known: dict[str, Canary] = {}
        self._asked: dict[str, Sequence[Future[list[float | None]]]] = {}
        if resumed:
            try:
                self._known = read_canaries(self._path)
            except (ValueError, OSError) as error:
                self._path = None
                self._note(f"whether the weights are those of the run before is not known: {error}")

    def ask(self, clients: Mapping[str, SamplingClient], *, new: bool) -> None:
        """Ask for the numbers of these models, once; with `new`, also of those that have none from an earlier run."""
        for name, client in clients.items():
            known = self._known.get(name)
            if self._path is None or name in self._asked or not (new or known):
                continue
            try:
                prompts = canary_prompts() if known is None else known.prompts
                self._asked[name] = [client.compute_logprobs(prompt, timeout=_TIMEOUT) for prompt in prompts]
            except (TinkexError, ValueError) as error:
                self._asked[name] = ()
                self._miss(name, error)

    def collect(self) -> None:
        """Compare or keep the numbers that have come."""
        for name, futures in self._asked.items():
            if futures and all(future.done() for future in futures):
                self._asked[name] = ()
                try:
                    error = next(filter(None, map(error_of, futures)), None)
                    if error is None:
                        self._take(name, [future.result() for future in futures])
                except ValueError as raised:
                    error = raised
                if error is not None:
                    self._miss(name, error)

    def finish(self, clients: Mapping[str, SamplingClient]) -> None:
        """Ask for what is missing, and wait for it a moment."""
        self.ask(clients, new=True)
        wait([future for futures in self._asked.values() for future in futures], _PATIENCE)
        self.collect()

    def _take(self, name: str, logprobs: list[list[float | None]]) -> None:
        known = self._known.get(name)
        if known is None:
            self._keep(name, Canary(canary_prompts(), logprobs))
            return
        found = compare_canaries(known, Canary(known.prompts, logprobs))
        if not found.same:
            self._note(
                f"{name} has other weights than in the run before: {found}. {self._output.name} has rows of both; for"
                " rows of one, write to another file"
            )

    def _keep(self, name: str, canary: Canary) -> None:
        assert self._path is not None
        self._known[name] = canary
        try:
            write_canaries(self._path, self._known)
        except OSError as error:
            self._path = None
            self._note(f"the canary numbers of the weights could not be kept: {error}")

    def _miss(self, name: str, error: BaseException) -> None:
        if name in self._known:
            why = str(error) or type(error).__name__
            self._note(f"whether {name} has the weights of the run before is not known: {why}")
        else:
            logger.debug("%s has no canary numbers: %s", name, error)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        logger.warning("Of the output %s: %s", self._output.name, text)
