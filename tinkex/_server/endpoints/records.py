"""Read endpoints: training runs, checkpoints, sessions, weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web
from attrs import asdict

from tinkex._server.answers import answer_json
from tinkex._server.bodies import RequestRefusedError, parse_object, refuse_unknown
from tinkex._server.service import SERVICE
from tinkex._server.state import ServerState
from tinkex.types import Checkpoint, TrainingRun

_MOST = 1000
_MOST_DIGITS = 18


async def training_runs(request: web.Request) -> web.Response:
    """A page of the training runs."""
    runs = request.app[SERVICE].state.training_runs
    part, cursor = _page(request, runs, usual=20)
    return answer_json({"training_runs": [plain(run) for run in part], "cursor": cursor})


async def training_run(request: web.Request) -> web.Response:
    """One training run."""
    return answer_json(plain(_run(request)))


async def run_checkpoints(request: web.Request) -> web.Response:
    """All checkpoints of one training run."""
    run = _run(request)
    found = _of_run(request.app[SERVICE].state, run.training_run_id)
    return answer_json({"checkpoints": [plain(each) for each in found], "cursor": None})


async def checkpoints(request: web.Request) -> web.Response:
    """A page of all checkpoints."""
    part, cursor = _page(request, request.app[SERVICE].state.checkpoints, usual=100)
    return answer_json({"checkpoints": [plain(each) for each in part], "cursor": cursor})


async def sessions(request: web.Request) -> web.Response:
    """A page of the ids of the sessions, the latest first."""
    known = list(reversed(request.app[SERVICE].state.sessions))
    return answer_json({"sessions": _page(request, known, usual=20)[0]})


async def session(request: web.Request) -> web.Response:
    """One session and its sampling sessions."""
    state = request.app[SERVICE].state
    found = state.sessions.get(request.match_info["session_id"])
    if found is None:
        raise RequestRefusedError(404, "The session does not exist.")
    samplers = [name for name, each in state.samplers.items() if each.session_id == found.session_id]
    answer = {"training_run_ids": [], "sampler_ids": samplers, "user_metadata": found.user_metadata}
    return answer_json(answer if found.display_name is None else {**answer, "display_name": found.display_name})


async def weights_info(request: web.Request) -> web.Response:
    """The base model and adapter of the weights at a path."""
    service, body = request.app[SERVICE], parse_object(await request.read())
    if service.options.forbid_unknown:
        refuse_unknown(body, ("tinker_path",))
    path = str(body.get("tinker_path"))
    run_id = path.removeprefix("tinker://").partition("/")[0]
    run = next((run for run in service.state.training_runs if run.training_run_id == run_id), None)
    if run is None or all(each.tinker_path != path for each in service.state.checkpoints):
        raise RequestRefusedError(404, f"There are no weights at {path}.")
    trained = {"train_unembed": True, "train_mlp": True, "train_attn": True}
    return answer_json({"base_model": run.base_model, "is_lora": run.is_lora, "lora_rank": run.lora_rank, **trained})


def plain(record: TrainingRun | Checkpoint) -> dict[str, Any]:
    """A record as JSON; what is None is left out."""
    return asdict(record, filter=lambda _, value: value is not None, value_serializer=_serialized)


def _serialized(_record: object, _field: object, value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _run(request: web.Request) -> TrainingRun:
    run_id = request.match_info["run_id"]
    for run in request.app[SERVICE].state.training_runs:
        if run.training_run_id == run_id:
            return run
    raise RequestRefusedError(404, f"Training run {run_id} does not exist.")


def _of_run(state: ServerState, run_id: str) -> Iterable[Checkpoint]:
    return [each for each in state.checkpoints if each.tinker_path.startswith(f"tinker://{run_id}/")]


def _page(request: web.Request, items: Sequence[Any], usual: int) -> tuple[list[Any], dict[str, int]]:
    limit, offset = _number(request, "limit", usual), _number(request, "offset", 0)
    part = list(items[offset : offset + min(limit, _MOST)])
    return part, {"offset": offset, "limit": limit, "total_count": len(items)}


def _number(request: web.Request, name: str, usual: int) -> int:
    text = request.query.get(name, str(usual))
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise RequestRefusedError(422, f"{name}: Input should be a valid integer")
    return int(text)
