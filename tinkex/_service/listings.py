"""Read-only endpoints of `ServiceClient`: training runs, checkpoints, sessions, samplers and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from tinkex._api.endpoints import Endpoint
from tinkex._runtime.task import Coroutine
from tinkex._service.lifecycle import ServiceLifecycle
from tinkex._validation.arguments import check_choice, check_count, check_id, check_model, check_timeout
from tinkex._validation.json_values import text
from tinkex._validation.public_names import with_public_names
from tinkex.errors import APIStatusError, BadRequestError, MissingFeatureError

if TYPE_CHECKING:  # loaded with the first call
    from tinkex._wire import records
    from tinkex.listing import Listing
    from tinkex.types import Checkpoint, SamplerInfo, SessionInfo, TrainingRun, WeightsInfo

T = TypeVar("T")

_SCOPES = ("owned", "accessible")
_NO_SUCH_ENDPOINT = (404, 405, 501)


@with_public_names
class Reads:
    """Read-only calls: every one blocks for one request, a list for one request a page.

    Each is sent like everything else the client sends: with its key, retries, proxies and limits. All raise `APIError`
    where the server cannot be reached or refuses, `NotFoundError` for an id it does not know, and `MissingFeatureError`
    for a list that the server does not keep. `timeout` is in seconds, of one request; None is the configured deadline.
    """

    _lifecycle: ServiceLifecycle

    def list_training_runs(
        self, *, access_scope: str = "owned", project_id: str | None = None, page_size: int = 20, offset: int = 0,
        timeout: float | None = None,
    ) -> Listing[TrainingRun]:  # fmt: skip
        """The training runs of this account, the latest first, as a lazy iterator: nothing is sent before it is read.

        Args:
            access_scope: "owned", or "accessible": also those that others share.
            project_id: Only those of one project. None: of all.
            page_size: How many to ask for at once.
            offset: How many to pass over.
            timeout: Seconds for each page.
        """
        from tinkex._wire import records

        check_choice("access_scope", access_scope, *_SCOPES)
        filters = {"access_scope": access_scope, **({} if project_id is None else {"project_id": project_id})}
        return self._listing("training_runs", records.training_run_entry, filters, page_size, offset, timeout)

    def list_checkpoints(
        self, training_run_id: str | None = None, *, page_size: int = 100, offset: int = 0,
        timeout: float | None = None,
    ) -> Listing[Checkpoint]:  # fmt: skip
        """The checkpoints of this account, or of one training run, as a lazy iterator.

        Those whose `checkpoint_type` is "sampler" have a `tinker_path` to sample from.
        """
        from tinkex._wire import records

        if training_run_id is None:
            return self._listing("checkpoints", records.checkpoint_entry, {}, page_size, offset, timeout)
        path = f"training_runs/{_quoted('training_run_id', training_run_id)}/checkpoints"
        return self._listing(path, records.checkpoint_entry, {}, page_size, offset, timeout)

    def list_sessions(
        self, *, access_scope: str = "owned", page_size: int = 20, offset: int = 0, timeout: float | None = None
    ) -> Listing[str]:
        """The ids of the sessions of this account, the latest first, as a lazy iterator."""
        check_choice("access_scope", access_scope, *_SCOPES)
        filters = {"access_scope": access_scope}
        return self._listing("sessions", text, filters, page_size, offset, timeout)

    def get_training_run(
        self, training_run_id: str, *, access_scope: str = "owned", timeout: float | None = None
    ) -> TrainingRun:
        """One training run."""
        from tinkex._wire import records

        check_choice("access_scope", access_scope, *_SCOPES)
        path = f"training_runs/{_quoted('training_run_id', training_run_id)}?access_scope={access_scope}"
        answer = self._ask(Endpoint(path, method="GET"), {}, timeout, "get_training_run")
        return records.decode_training_run(answer, training_run_id)

    def get_session(self, session_id: str, *, access_scope: str = "owned", timeout: float | None = None) -> SessionInfo:
        """What was made in one session."""
        from tinkex._wire import records

        check_choice("access_scope", access_scope, *_SCOPES)
        path = f"sessions/{_quoted('session_id', session_id)}?access_scope={access_scope}"
        return records.decode_session(self._ask(Endpoint(path, method="GET"), {}, timeout, "get_session"), session_id)

    def get_sampler(self, sampler_id: str, *, timeout: float | None = None) -> SamplerInfo:
        """What a sampling session, such as `SamplingClient.sampling_session_id`, samples from."""
        from tinkex._wire import records

        path = f"samplers/{_quoted('sampler_id', sampler_id)}"
        return records.decode_sampler(self._ask(Endpoint(path, method="GET"), {}, timeout, "get_sampler"), sampler_id)

    def weights_info(self, path: str, *, timeout: float | None = None) -> WeightsInfo:
        """What the weights at a "tinker://..." path are: their base model, and how they were trained.

        Where the server tells it of weights to train from only, and not of those to sample from, their training run is
        asked instead.
        """
        from tinkex._wire import records
        from tinkex.types import WeightsInfo

        check_model(None, path, None)
        try:
            answer = self._ask(Endpoint("weights_info"), {"tinker_path": path}, timeout, "weights_info")
        except BadRequestError as refusal:
            try:
                run = self.get_training_run(path.removeprefix("tinker://").partition("/")[0], timeout=timeout)
            except APIStatusError:
                raise refusal from None
            return WeightsInfo(base_model=run.base_model, is_lora=run.is_lora, lora_rank=run.lora_rank)
        return records.decode_weights_info(answer)

    def _listing(
        self, path: str, decode: Callable[[Any], T | None], filters: Mapping[str, str], page_size: int, offset: int,
        timeout: float | None,
    ) -> Listing[T]:  # fmt: skip
        from tinkex._wire import records
        from tinkex.listing import Listing

        check_count("page_size", page_size, 1)
        check_count("offset", offset, 0)
        if timeout is not None:
            check_timeout(timeout)
        name = path.rpartition("/")[2]

        def fetch(start: int, count: int) -> records.Page[T]:
            query = urlencode({"limit": count, "offset": start, **filters})
            try:
                answer = self._ask(Endpoint(f"{path}?{query}", method="GET"), {}, timeout, f"list_{name}")
            except APIStatusError as error:
                if error.status not in _NO_SUCH_ENDPOINT or "/" in path:
                    raise
                raise MissingFeatureError(f"This server keeps no list of {name.replace('_', ' ')}. {error}") from None
            return records.decode_page(answer, name, decode)

        return Listing(fetch, page_size, offset)

    def _ask(self, endpoint: Endpoint, fields: Mapping[str, Any], timeout: float | None, what: str) -> dict[str, Any]:
        def coroutine() -> Coroutine[dict[str, Any]]:
            runtime = self._lifecycle.start()
            yield from runtime.session.started()
            return (yield from runtime.api.ask(endpoint, fields, self._lifecycle.config.current))

        return self._lifecycle.run(coroutine, timeout, what).result()


def _quoted(name: str, value: str) -> str:
    check_id(name, value)
    return quote(value, safe="")
