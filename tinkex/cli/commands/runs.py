"""Command ``tinkex runs``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import attrs
import click

from tinkex.cli.commands import checkpoints
from tinkex.cli.options.connect import Target
from tinkex.cli.options.server import asking, server_options
from tinkex.cli.output.rows import Cell, Form, form_options, limit_options, print_facts, print_list, take
from tinkex.types import TrainingRun


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--project", metavar="ID", help="Only the runs of one project.")
@click.option("--shared", is_flag=True, help="Also runs that others share with this account.")
@limit_options
@server_options
@form_options
def command(
    *, run: str | None, project: str | None, shared: bool, limit: int | None, target: Target, form: Form
) -> None:
    """List training runs, or show one with its checkpoints."""
    scope = "accessible" if shared else "owned"
    if run is not None:
        _show(run, scope, limit, target, form)
        return
    with asking(target, "training runs") as (service, show_progress):
        listing = service.list_training_runs(access_scope=scope, project_id=project, timeout=target.timeout)
        found = take(listing, limit, show_progress, "training runs")
    print_list("training_runs", found, _row, form, listing.total)


def _show(run_id: str, scope: str, limit: int | None, target: Target, form: Form) -> None:
    with asking(target, "the training run") as (service, _):
        run = service.get_training_run(run_id, access_scope=scope, timeout=target.timeout)
        saved = list(itertools.islice(service.list_checkpoints(run_id, timeout=target.timeout), limit))
    print_facts(_facts(run), {**attrs.asdict(run, recurse=False), "checkpoints": saved}, form)
    if not (form.json or form.jsonl):
        click.echo()
        print_list("checkpoints", saved, checkpoints.row, form)


def _row(run: TrainingRun) -> Mapping[str, Cell]:
    last = run.last_sampler_checkpoint
    return {
        "run": run.training_run_id,
        "base model": run.base_model,
        "LoRA": run.lora_rank if run.is_lora else None,
        "last request": run.last_request_time,
        "last to sample from": None if last is None else last.checkpoint_id,
        "state": "corrupted" if run.corrupted else None,
    }


def _facts(run: TrainingRun) -> Mapping[str, Cell]:
    return {
        "run": run.training_run_id,
        "base model": run.base_model,
        "owner": run.model_owner,
        "LoRA rank": run.lora_rank if run.is_lora else None,
        "last request": run.last_request_time,
        "state": "corrupted" if run.corrupted else None,
        "metadata": str(run.user_metadata) if run.user_metadata else None,
    }
