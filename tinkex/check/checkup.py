"""A check run: a service, the models to look at, and the checks that fit into the budget."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from tinkex._validation.public_names import with_public_names
from tinkex.check.canary import Canary, canary_prompts, take_canary
from tinkex.check.checks.weights import judge_same_weights, judge_saved
from tinkex.check.lab import Lab
from tinkex.check.observations import Cost, Observations
from tinkex.check.result import SKIPPED, CheckResult, ServerReport, unknown
from tinkex.check.suite import CHECKS, NAMES, affordable, run_check, total_cost
from tinkex.check.wire import RawSession
from tinkex.errors import TinkexError
from tinkex.sampling_client import SamplingClient
from tinkex.service_client import ServiceClient

WEIGHTS: Final = ("saved weights", "weights stay the same", "canary numbers")
ALL_NAMES: Final = (*NAMES, *WEIGHTS)
_RAW: Final = frozenset({"repeated", "polled", "cancelled", "over", "context"})
_CANARY: Final = Cost(len(canary_prompts()), sum(map(len, canary_prompts())), len(canary_prompts()))


@with_public_names
class Checkup:
    """A check run of one server. `cost` says beforehand what it takes at most; `run` sends.

    Args:
        service: The server.
        base_model: The base model to look at.
        model_paths: Saved weights to compare with it, and with each other.
        tokenizer: An object with `decode`, for stops as text; None leaves these out.
        end_tokens: The ids that end an answer of this model.
        vocabulary: How many tokens the model has, if known.
        context: The length of its context: fills it once, with a prompt of that many tokens. None: as the server says,
            and it is not filled.
        only: Names of checks, those of `ALL_NAMES`; None for all.
        tokens: Most tokens to use, of prompts and answers together: checks beyond that are left out.
        before: Canary numbers of an earlier run, by the name of the model.
        timeout: Seconds that a sample may take.
        limit: Seconds after which nothing more is sampled.

    Raises:
        ValueError: There is no such check, or no model.
    """

    def __init__(
        self,
        service: ServiceClient,
        *,
        base_model: str | None = None,
        model_paths: Sequence[str] = (),
        tokenizer: Any = None,
        end_tokens: Collection[int] = (),
        vocabulary: int | None = None,
        context: int | None = None,
        only: Collection[str] | None = None,
        tokens: int | None = None,
        before: Mapping[str, Canary] | None = None,
        timeout: float = 60.0,
        limit: float = 600.0,
    ) -> None:
        wanted = set(ALL_NAMES if only is None else only)
        if strange := sorted(wanted - {*ALL_NAMES}):
            raise ValueError(f"there is no check {strange[0]!r}; there are: {', '.join(ALL_NAMES)}")
        if base_model is None and not model_paths:
            raise ValueError("base_model or model_paths must name a model")
        self._service, self._timeout, self._limit = service, timeout, limit
        self._tokenizer, self._end_tokens = tokenizer, tuple(end_tokens)
        self._vocabulary, self._context = vocabulary, context
        self._models = _models(base_model, model_paths)
        self._before = before
        self._weights = [name for name in WEIGHTS if name in wanted]
        self._canary_cost = sum((_CANARY for _ in range(2 * len(self._models) if self._weights else 0)), Cost())
        checks = [check for check in CHECKS if check.name in wanted]
        left = math.inf if tokens is None else tokens - self._canary_cost.tokens
        if left < 0:
            self._weights, self._canary_cost, left = [], Cost(), tokens or 0
        self._checks = affordable(checks, left)
        chosen = {*self._weights, *(check.name for check in self._checks)}
        self._left_out = [name for name in ALL_NAMES if name in wanted - chosen]
        self.canaries: dict[str, Canary] = {}
        """Canary numbers of this run, by the name of the model."""

    @property
    def cost(self) -> Cost:
        """What the run takes at most."""
        fills = self._context and any(check.name == "context" for check in self._checks)
        return total_cost(self._checks) + self._canary_cost + (Cost(20, self._context or 0, 64) if fills else Cost())

    def run(self, on_result: Callable[[CheckResult], None] = lambda _: None) -> ServerReport:
        """Send the samples, and return the report; `on_result` is told each result as it comes.

        Raises TinkexError where no sampling client can be made.
        """
        begun, results = time.monotonic(), list[CheckResult]()
        clients = {name: self._service.create_sampling_client(**model) for name, model in self._models.items()}
        name, client = next(iter(clients.items()))
        lab = Lab(client, timeout=self._timeout, limit=self._limit)
        with self._plain_session() as raw:
            seen = Observations(
                lab,
                raw,
                lambda: self._service.create_sampling_client(**self._models[name]),
                None if self._tokenizer is None else self._tokenizer.decode,
                self._end_tokens,
                self._vocabulary,
                self._context or self._told_context(),
                self._context is not None,
                self._timeout,
            )
            for result in self._results(seen, clients):
                results.append(result)
                on_result(result)
        sent = (lab,) if raw is None else (lab, raw)
        return ServerReport(
            server=self._service.config.base_url,
            model=name,
            results=tuple(results),
            requests=sum(each.requests for each in sent),
            prompt_tokens=sum(each.prompt_tokens for each in sent),
            sampled_tokens=sum(each.sampled_tokens for each in sent),
            seconds=time.monotonic() - begun,
        )

    def _results(self, seen: Observations, clients: Mapping[str, SamplingClient]) -> Iterator[CheckResult]:
        first = self._take(seen.lab, clients) if self._weights else None
        for check in self._checks:
            yield run_check(check, seen)
        yield from (_skipped(name, "it does not fit into the budget") for name in self._left_out)
        if isinstance(first, str):
            yield from (unknown(name, first) for name in self._weights)
        elif first is not None:
            yield from self._judge_weights(first, self._take(seen.lab, clients))

    def _judge_weights(self, first: dict[str, Canary], again: dict[str, Canary] | str) -> Iterator[CheckResult]:
        self.canaries = first
        base = next((first[name] for name, model in self._models.items() if "model_path" not in model), None)
        saved = {name: first[name] for name, model in self._models.items() if "model_path" in model}
        if "saved weights" in self._weights:
            yield judge_saved(saved, base) if saved else _skipped("saved weights", "give --model-path")
        if "weights stay the same" in self._weights:
            name = "weights stay the same"
            yield unknown(name, again) if isinstance(again, str) else judge_same_weights(name, first, again)
        if "canary numbers" in self._weights:
            name = "canary numbers"
            if self._before is None:
                yield _skipped(name, "give --canary FILE: it keeps the numbers, and the next run compares")
            else:
                yield judge_same_weights(name, self._before, first)

    def _take(self, lab: Lab, clients: Mapping[str, SamplingClient]) -> dict[str, Canary] | str:
        """Canary numbers of all models, or why there are none."""
        lab.requests += _CANARY.requests * len(clients)
        lab.prompt_tokens += _CANARY.prompt_tokens * len(clients)
        lab.sampled_tokens += _CANARY.sampled_tokens * len(clients)
        try:
            return {name: take_canary(client, timeout=self._timeout) for name, client in clients.items()}
        except TinkexError as error:
            return str(error)

    def _told_context(self) -> int | None:
        """The length of the context as the server tells it."""
        name = next(iter(self._models.values())).get("base_model")
        with contextlib.suppress(TinkexError):
            for model in self._service.get_server_capabilities(timeout=self._timeout).supported_models:
                if model.model_name == name:
                    return model.max_context_length
        return None

    @contextlib.contextmanager
    def _plain_session(self) -> Iterator[RawSession | None]:
        if not any(_RAW & {*check.uses, check.name} for check in self._checks):
            yield None
            return
        with contextlib.closing(
            RawSession(self._service.config, next(iter(self._models.values())), self._timeout)
        ) as raw:
            yield raw


def _models(base_model: str | None, paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The options of each model's sampling client, by its name: the base model first."""
    found: dict[str, dict[str, Any]] = {} if base_model is None else {base_model: {"base_model": base_model}}
    return {**found, **{path: {"model_path": path} for path in paths}}


def _skipped(name: str, says: str) -> CheckResult:
    return CheckResult(name=name, verdict=SKIPPED, says=says)
