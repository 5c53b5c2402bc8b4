"""Command ``tinkex checkpoints``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import click

from tinkex.cli.options.connect import Target
from tinkex.cli.options.server import asking, server_options
from tinkex.cli.output.rows import Cell, Form, form_options, limit_options, print_facts, print_list, size, take
from tinkex.types import Checkpoint, WeightsInfo


@click.command()
@click.argument("where", metavar="[RUN|PATH]", required=False)
@click.option("--type", "kind", type=click.Choice(["sampler", "training", "external"]), help="Only those of one type.")
@limit_options
@server_options
@form_options
def command(*, where: str | None, kind: str | None, limit: int | None, target: Target, form: Form) -> None:
    """List saved weights, or show what is known of some.

    Without an argument: all checkpoints of the account. With the id of a training run: those of that run. With a
    tinker:// path: what these weights are. A path of the type "sampler" is what --model-path of the other commands
    takes.

    \b
      tinkex checkpoints --type sampler
      tinkex checkpoints tinker://RUN/sampler_weights/000100
    """  # noqa: D301 - click wants the character itself
    if where is not None and where.startswith("tinker://"):
        with asking(target, "the weights") as (service, _):
            info: WeightsInfo = service.weights_info(where, timeout=target.timeout)
        print_facts(*_facts(where, info), form)
        return
    with asking(target, "checkpoints") as (service, show_progress):
        listing = service.list_checkpoints(where, timeout=target.timeout)
        found = take(_of_type(listing, kind), limit, show_progress, "checkpoints")
    print_list("checkpoints", found, row, form, None if kind else listing.total)


def row(checkpoint: Checkpoint) -> Mapping[str, Cell]:
    """Cells of a checkpoint in a list."""
    return {
        "path": checkpoint.tinker_path,
        "type": checkpoint.checkpoint_type,
        "saved": checkpoint.time,
        "size": size(checkpoint.size_bytes),
        "expires": checkpoint.expires_at,
        "public": "public" if checkpoint.public else None,
    }


def _of_type(listing: Iterable[Checkpoint], kind: str | None) -> Iterable[Checkpoint]:
    return listing if kind is None else (each for each in listing if each.checkpoint_type == kind)


def _facts(path: str, info: WeightsInfo) -> tuple[Mapping[str, Cell], Mapping[str, Any]]:
    parts = {"unembedding": info.train_unembed, "MLP": info.train_mlp, "attention": info.train_attn}
    shown: dict[str, Cell] = {
        "path": path,
        "base model": info.base_model,
        "LoRA": info.is_lora,
        "LoRA rank": info.lora_rank,
        "trained": ", ".join(name for name, trained in parts.items() if trained) or None,
    }
    return shown, {"tinker_path": path, **attrs.asdict(info)}
