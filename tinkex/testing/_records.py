"""Example training runs and checkpoints of a fake server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tinkex.types import Checkpoint, TrainingRun

_BEGAN = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
_RUNS = ("6f1c2a94-0d57-5e0c-9b3a-1f6d2f0c7a11:train:0", "b27e90d3-58aa-5b41-8c55-7e30c9f4d802:train:0")


def example_records(model: str) -> tuple[list[TrainingRun], list[Checkpoint]]:
    """Return two training runs of a model and their checkpoints, the latest first."""
    runs: list[TrainingRun] = []
    checkpoints: list[Checkpoint] = []
    for number, run_id in enumerate(_RUNS):
        began = _BEGAN + timedelta(days=number)
        saved = [_saved(run_id, kind, step, began) for step in (200, 100) for kind in ("sampler", "training")]
        checkpoints[:0] = saved
        run = TrainingRun(
            training_run_id=run_id, base_model=model, model_owner="tml:user:example", is_lora=True, lora_rank=32,
            last_request_time=began + timedelta(hours=3), last_checkpoint=saved[1], last_sampler_checkpoint=saved[0],
        )  # fmt: skip
        runs.insert(0, run)
    return runs, checkpoints


def _saved(run_id: str, kind: str, step: int, began: datetime) -> Checkpoint:
    place = f"{'sampler_weights' if kind == 'sampler' else 'weights'}/{step:06d}"
    size = 41_943_040 if kind == "sampler" else 125_829_120
    return Checkpoint(
        tinker_path=f"tinker://{run_id}/{place}", checkpoint_id=place, checkpoint_type=kind,
        time=began + timedelta(minutes=step / 2), size_bytes=size,
    )  # fmt: skip
