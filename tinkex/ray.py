"""Batch inference on a Ray cluster, with Ray Data; needs the ``ray`` extra.

`RayEngine` lets ``tinkex.bulk.run`` (and ``tinkex batch run --engine ray``) sample on a cluster; `map_batches` adds
samples to a Ray data set. Both ship the client to Ray's actors as a pickle, which holds no key: every actor takes the
key from its own environment, and has sequence numbers of its own.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import pickle
import queue
import secrets
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

import attrs

from tinkex._validation.public_names import with_public_names
from tinkex.bulk import Batch, FlowState, Limits, Models, Task, perform
from tinkex.bulk._input import fields
from tinkex.bulk._input.parquet_file import dicts, parse_arrow
from tinkex.bulk._input.task import PARAMETERS
from tinkex.bulk._models import Failure
from tinkex.bulk._output.json_lines import encode_row
from tinkex.bulk._plan import RowPlanner
from tinkex.sampling_client import SamplingClient

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import ray.data

Record = dict[str, Any]

_MOST_IN_FLIGHT: Final = 1000
_MOST_CALLS: Final = 32  # to one actor at once
_CHUNK: Final = 20_000  # tasks; what Ray is given at once, so that the rest of the input need not be in memory


@with_public_names
@attrs.frozen(kw_only=True)
class RayEngine:
    """Samples the tasks of ``tinkex.bulk.run`` on actors of a Ray cluster: `run(..., engine=RayEngine(actors=8))`.

    - *actors*: how many processes. The limits of the run are divided among them: each keeps its own part.
    - *rows_at_once*: how many rows an actor is given in one call, of which it works on several. The rows of a call are
      written when all of them have ended.
    - *resources*: what Ray sets aside for an actor, such as ``{"num_cpus": 1}``.

    The rows that a dying actor had not handed in are sampled again by another, and billed again. The cluster is the one
    that `ray.init` or ``RAY_ADDRESS`` names; without either Ray starts on this machine, open to no other.
    """

    actors: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    rows_at_once: int = attrs.field(default=64, validator=attrs.validators.ge(1))
    resources: Mapping[str, Any] = attrs.field(factory=lambda: {"num_cpus": 0.5})

    def __call__(
        self, tasks: Iterator[Task], models: Models, limits: Limits, *, halt: threading.Event,
        omit: Collection[str] = (), timeout: float | None = None, tell: Callable[[FlowState], None] | None = None,
    ) -> Iterator[Batch]:  # fmt: skip
        """Yield every task with its record. After `halt`, rows that no actor has handed in are dropped."""
        start()
        most = limits.max_in_flight or _MOST_IN_FLIGHT
        while not halt.is_set() and (chunk := list(itertools.islice(tasks, _CHUNK))):
            left = len(chunk)
            shipped = (_opened(models, chunk), limits.share(_useful(self.actors, limits)), tuple(omit), timeout)
            for batch in itertools.chain([[]], self._sample(chunk, shipped, limits)):
                left -= len(batch)
                if tell is not None:
                    tell(FlowState(min(left, most), most, "fixed"))
                yield batch
                if halt.is_set():
                    break

    def _sample(self, chunk: list[Task], shipped: tuple[Any, ...], limits: Limits) -> Iterator[Batch]:
        waiting = {task.index: task for task in chunk}
        for ended in self._on_cluster(chunk, shipped, limits).iter_batches(batch_size=None, batch_format="numpy"):
            pairs = zip(ended["index"].tolist(), map(_load, ended["record"]), strict=True)
            yield [(task, record) for index, record in pairs if (task := waiting.pop(index, None)) is not None]

    def _on_cluster(self, chunk: list[Task], shipped: tuple[Any, ...], limits: Limits) -> ray.data.Dataset:
        import ray.data

        size = max(1, min(self.rows_at_once, math.ceil(len(chunk) / (2 * self.actors))))
        items = [{"index": task.index, "task": pickle.dumps(task)} for task in chunk]
        source = ray.data.from_items(items, override_num_blocks=math.ceil(len(chunk) / size))
        source.context.enable_progress_bars = False  # the run shows its own
        return _on_actors(source, _Tasks, shipped, _useful(self.actors, limits), size, limits, self.resources)


def map_batches(
    dataset: ray.data.Dataset,
    models: Models | SamplingClient | Mapping[str, SamplingClient],
    *,
    actors: int = 2,
    batch_size: int = 64,
    limits: Limits | None = None,
    tokenizer: object = None,
    omit: Collection[str] = (),
    timeout: float | None = None,
    resources: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> ray.data.Dataset:
    """Add samples to the rows of a Ray data set, lazily, as Ray's own `map_batches` does.

    A row needs a column ``prompt`` (text or token ids), ``prompt_tokens`` or ``messages``; other columns are read as
    ``tinkex.bulk.run`` reads them, so a row may bring a ``model`` and parameters of its own. These columns are added:

    - ``status``: "ok" or "error"; a row that cannot be sampled does not stop the others.
    - ``error``: what went wrong, empty where nothing did.
    - ``text``: the text of every sequence, as a list.
    - ``record``: the whole row as ``tinkex.bulk.run`` writes it, as JSON; its ``id`` is null if the row has none.

    A column of the data set that has one of these names is replaced; ``record`` has it, under ``extra``.

    Args:
        dataset: The rows.
        models: One client, or several by name: every row goes to each of them, unless it names one.
        actors: How many processes sample. `limits` are divided among them.
        batch_size: How many rows an actor is given in one call, of which it works on several.
        limits: How fast; None for `Limits()`.
        tokenizer: A name, a path or an object that pickles; None for each model's own.
        omit: What to leave out of the record: "text", "tokens", "logprobs", "prompt_tokens".
        timeout: Seconds for each sample; None as configured.
        resources: What Ray sets aside for an actor; None for half a CPU.
        **parameters: As for ``tinkex.bulk.run``.

    Raises TypeError for an unknown parameter, ValueError for a wrong value.
    """
    for name in parameters:
        if name not in PARAMETERS:
            raise TypeError(f"map_batches() got an unexpected argument {name!r}")
    parameters = fields.parameters(parameters)
    limits = limits or Limits()
    actors = _useful(actors, limits)
    shipped = (Models.of(models, tokenizer), limits.share(actors), tuple(omit), timeout, parameters)
    reserved = {"num_cpus": 0.5} if resources is None else resources
    return _on_actors(dataset, _Rows, shipped, actors, batch_size, limits, reserved, batch_format="pyarrow")


def start() -> None:
    """Connect to Ray, if that has not happened: to ``RAY_ADDRESS``, or to a new one that only this machine reaches.

    A new one takes commands from those who know its token, which is made here and kept in the environment of this
    process, unless ``RAY_AUTH_MODE`` or a token of yours says otherwise: nothing is written to the home folder.
    """
    if "ray" not in sys.modules and "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read at import: 0 keeps Ray on the loopback
        if not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:
        ray.init(
            include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False, logging_level=logging.WARNING
        )
        import ray.data  # it sets this level when it is imported

        logging.getLogger("ray.data").setLevel(logging.ERROR)


def _useful(actors: int, limits: Limits) -> int:
    """No more actors than rows may be in flight: each has at least one."""
    return min(actors, limits.max_in_flight or actors)


def _on_actors(
    dataset: ray.data.Dataset, worker: type, shipped: tuple[Any, ...], actors: int, rows: int, limits: Limits,
    resources: Mapping[str, Any], batch_format: str = "numpy",
) -> ray.data.Dataset:  # fmt: skip
    import ray.data

    most = limits.share(actors).max_in_flight or _MOST_IN_FLIGHT
    calls = min(_MOST_CALLS, math.ceil(most / rows) + 1)  # one more: while a call waits for its last row, others begin
    pool = ray.data.ActorPoolStrategy(
        size=actors, max_concurrent_calls_per_actor=calls, enable_true_multi_threading=True
    )
    return dataset.map_batches(
        worker, fn_constructor_args=shipped, batch_size=rows, compute=pool, batch_format=batch_format, **resources
    )


@attrs.frozen
class _Opened:
    """Opens models by returning clients that the driver has opened, or raising why it could not."""

    clients: Mapping[str, SamplingClient | Failure]

    def __call__(self, name: str) -> SamplingClient:
        client = self.clients[name]
        if isinstance(client, Failure):
            raise client.error()
        return client


def _opened(models: Models, tasks: Iterable[Task]) -> Models:
    """Open the models of these tasks in the driver, so that only the clients need to pickle."""
    clients: dict[str, SamplingClient | Failure] = {}
    for name in {task.model for task in tasks if task.row.problem is None}:
        try:
            clients[name] = models.get(name).client
        except Exception as error:  # noqa: BLE001 - each row of this model says so
            clients[name] = Failure(error)
    return Models(models.names, _Opened(clients), models.tokenizer)


def _load(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - another process of the same job wrote it


class Sampling:
    """Engine shared by all calls to an actor, so that its limits hold across them. Safe to share between threads."""

    def __init__(self, models: Models, limits: Limits, omit: Collection[str], timeout: float | None) -> None:
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._awaited: dict[int, Future[Record]] = {}
        self._flow = perform(
            iter(self._tasks.get, None), models, limits, halt=threading.Event(), omit=omit, timeout=timeout
        )
        threading.Thread(target=self._deliver, name="tinkex-ray", daemon=True).start()

    def sample(self, tasks: Iterable[Task]) -> list[Record]:
        """Sample tasks alongside those of other calls; blocks until all have ended."""
        futures: list[Future[Record]] = []
        for task in tasks:
            number = next(self._numbers)
            futures.append(Future())
            self._awaited[number] = futures[-1]
            self._tasks.put(attrs.evolve(task, index=number))
        return [future.result() for future in futures]

    def _deliver(self) -> None:
        try:
            for batch in self._flow:
                for task, record in batch:
                    self._awaited.pop(task.index).set_result(record)
        except BaseException as error:  # noqa: BLE001 - the waiting calls raise it
            while True:
                for number in list(self._awaited):
                    self._awaited.pop(number).set_exception(error)
                self._tasks.get()  # later calls, too


class _Tasks:
    """Actor class of `RayEngine`: samples pickled tasks."""

    def __init__(self, models: Models, limits: Limits, omit: Collection[str], timeout: float | None) -> None:
        self._sampling = Sampling(models, limits, omit, timeout)

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        records = self._sampling.sample(map(_load, batch["task"]))
        return {"index": batch["index"], "record": [pickle.dumps(record) for record in records]}


class _Rows:
    """Actor class of `map_batches`: samples the rows of a table."""

    def __init__(
        self, models: Models, limits: Limits, omit: Collection[str], timeout: float | None,
        parameters: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._models = models
        self._planner = RowPlanner(models.names, parameters)
        self._sampling = Sampling(models, limits, omit, timeout)

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        rows = itertools.chain.from_iterable(map(dicts, table.to_batches()))
        places: list[int] = []
        tasks: list[Task] = []
        for number, row in enumerate(rows):
            planned = self._planner.tasks(parse_arrow(number, row), len(tasks))
            tasks += planned
            places += [number] * len(planned)
        made = self._sampling.sample(tasks)
        for record in made:
            if record.pop("line", None) is not None:  # of the batch: other rows of the data set have the same
                record["id"] = None
        pairs = zip(tasks, made, strict=True)
        records, lines = zip(*(encode_row(*pair, "native", self._models) for pair in pairs), strict=True)
        columns = {
            "status": pa.array([record["status"] for record in records], pa.string()),
            "error": pa.array([(record["error"] or {}).get("message", "") for record in records], pa.string()),
            "text": pa.array(
                [[one["text"] for one in record["sequences"]] for record in records], pa.list_(pa.string())
            ),
            "record": pa.array([line.decode().rstrip() for line in lines], pa.string()),
        }
        kept = table.take(places)
        for name, column in columns.items():
            kept = kept.drop_columns(name) if name in kept.column_names else kept
            kept = kept.append_column(name, column)
        return kept
