"""Command ``tinkex models``."""

from __future__ import annotations

from collections.abc import Mapping

import click

from tinkex.cli.options.connect import Target
from tinkex.cli.options.server import asking, server_options
from tinkex.cli.output.rows import Cell, Form, form_options, print_list
from tinkex.types import SupportedModel


@click.command()
@click.option("--local", is_flag=True, help="Ask the small model on this machine.")
@server_options
@form_options
def command(*, target: Target, form: Form) -> None:
    """List the models that the server offers.

    The name is what --base-model of the other commands takes.
    """
    with asking(target, "models") as (service, _):
        models = service.get_server_capabilities(timeout=target.timeout).supported_models
    print_list("models", models, _row, form, len(models))


def _row(model: SupportedModel) -> Mapping[str, Cell]:
    return {
        "model": model.model_name,
        "context": model.max_context_length,
        "sampling": model.sampleable,
        "training": model.trainable,
        "tokenizer": model.tokenizer_id,
    }
