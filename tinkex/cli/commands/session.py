"""Command ``tinkex session``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click

from tinkex.cli.options.connect import Target
from tinkex.cli.options.server import asking, server_options
from tinkex.cli.output.rows import Cell, Form, form_options, limit_options, print_facts, print_list, take
from tinkex.errors import APIError
from tinkex.types import SamplerInfo, SessionInfo


@click.command()
@click.argument("session", metavar="[SESSION]", required=False)
@limit_options
@server_options
@form_options
def command(*, session: str | None, limit: int | None, target: Target, form: Form) -> None:
    """List sessions, or show one with its samplers.

    Of each sampler of a session it says what it samples from, a base model or the tinker:// path of saved weights.
    """
    if session is not None:
        _show(session, limit, target, form)
        return
    with asking(target, "sessions") as (service, show_progress):
        listing = service.list_sessions(timeout=target.timeout)
        found = take(listing, limit, show_progress, "sessions")
    records = [{"session_id": session_id} for session_id in found]
    print_list("sessions", records, lambda record: {"session": record["session_id"]}, form, listing.total)


def _show(session_id: str, limit: int | None, target: Target, form: Form) -> None:
    with asking(target, "the session") as (service, show_progress):
        info: SessionInfo = service.get_session(session_id, timeout=target.timeout)
        names = info.sampler_ids[:limit]
        samplers = []
        for number, name in enumerate(names, 1):
            show_progress(f"Fetching sampler {number} of {len(names)}")
            samplers.append(_sampler(service, name, target.timeout))
    print_facts(_facts(info), {**attrs.asdict(info), "samplers": samplers}, form)
    if samplers and not (form.json or form.jsonl):
        click.echo()
        print_list("samplers", samplers, _row, form, len(info.sampler_ids))


def _sampler(service: Any, name: str, timeout: float | None) -> SamplerInfo:
    """What a sampler samples from; only its name where the server does not say."""
    try:
        found: SamplerInfo = service.get_sampler(name, timeout=timeout)
    except APIError:
        return SamplerInfo(sampler_id=name)
    return found


def _row(sampler: SamplerInfo) -> Mapping[str, Cell]:
    return {"sampler": sampler.sampler_id, "base model": sampler.base_model, "path": sampler.model_path}


def _facts(info: SessionInfo) -> Mapping[str, Cell]:
    runs: Sequence[str] = info.training_run_ids
    return {
        "session": info.session_id,
        "name": info.display_name,
        "training runs": ", ".join(runs) or None,
        "samplers": len(info.sampler_ids),
        "metadata": str(info.user_metadata) if info.user_metadata else None,
    }
