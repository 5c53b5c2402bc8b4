"""Decode training runs, checkpoints, sessions and samplers from the JSON of their endpoints.

What is odd in a field counts as unsaid, and an entry that does not say what it is about is left out of its list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from attrs import frozen

from tinkex._validation.json_values import count, flag, json_object, text
from tinkex.errors import APIResponseError
from tinkex.types.records import Checkpoint, SamplerInfo, SessionInfo, TrainingRun, WeightsInfo

T = TypeVar("T")

_MILLISECONDS = 10_000_000_000  # a number above it counts them: as seconds it would lie in the year 2286


@frozen
class Page(Generic[T]):
    """Page of a list on the server."""

    items: tuple[T, ...]
    count: int
    """How many entries the server sent, those left out included."""
    total: int | None
    """How many there are in all; None where the server does not say."""


def decode_page(answer: Mapping[str, Any], name: str, decode: Callable[[Any], T | None]) -> Page[T]:
    """Read a page of a list; raises APIResponseError where there is no list of that name."""
    entries = answer.get(name)
    if not isinstance(entries, list):
        raise APIResponseError(f"The server's answer holds no list of {name.replace('_', ' ')}.")
    cursor = answer.get("cursor")
    total = count(cursor.get("total_count")) if isinstance(cursor, Mapping) else None
    items = tuple(item for item in map(decode, entries) if item is not None)
    return Page(items, len(entries), total)


def training_run_entry(entry: Any) -> TrainingRun | None:
    """Read a training run of a list; None for what has no id."""
    if not isinstance(entry, Mapping) or (run_id := text(entry.get("training_run_id"))) is None:
        return None
    return decode_training_run(entry, run_id)


def decode_training_run(answer: Mapping[str, Any], run_id: str) -> TrainingRun:
    """Read what is known of one training run."""
    return TrainingRun(
        training_run_id=run_id,
        base_model=text(answer.get("base_model")),
        model_owner=text(answer.get("model_owner")),
        is_lora=flag(answer.get("is_lora")),
        lora_rank=count(answer.get("lora_rank")),
        corrupted=answer.get("corrupted") is True,
        last_request_time=_time(answer.get("last_request_time")),
        last_checkpoint=checkpoint_entry(answer.get("last_checkpoint")),
        last_sampler_checkpoint=checkpoint_entry(answer.get("last_sampler_checkpoint")),
        user_metadata=json_object(answer.get("user_metadata")) or {},
    )


def checkpoint_entry(entry: Any) -> Checkpoint | None:
    """Read a checkpoint; None for what has no path."""
    if not isinstance(entry, Mapping) or (path := text(entry.get("tinker_path"))) is None:
        return None
    return Checkpoint(
        tinker_path=path,
        checkpoint_id=text(entry.get("checkpoint_id")) or "/".join(path.split("/")[-2:]),
        checkpoint_type=text(entry.get("checkpoint_type")),
        time=_time(entry.get("time")),
        size_bytes=count(entry.get("size_bytes")),
        public=entry.get("public") is True,
        expires_at=_time(entry.get("expires_at")),
        user_metadata=json_object(entry.get("user_metadata")) or {},
    )


def decode_session(answer: Mapping[str, Any], session_id: str) -> SessionInfo:
    """Read what was made in a session."""
    return SessionInfo(
        session_id=session_id,
        training_run_ids=_texts(answer.get("training_run_ids")),
        sampler_ids=_texts(answer.get("sampler_ids")),
        display_name=text(answer.get("display_name")),
        user_metadata=json_object(answer.get("user_metadata")) or {},
    )


def decode_sampler(answer: Mapping[str, Any], sampler_id: str) -> SamplerInfo:
    """Read what a sampling session samples from."""
    return SamplerInfo(
        sampler_id=text(answer.get("sampler_id")) or sampler_id,
        base_model=text(answer.get("base_model")),
        model_path=text(answer.get("model_path")),
    )


def decode_weights_info(answer: Mapping[str, Any]) -> WeightsInfo:
    """Read what weights are."""
    return WeightsInfo(
        base_model=text(answer.get("base_model")),
        is_lora=flag(answer.get("is_lora")),
        lora_rank=count(answer.get("lora_rank")),
        train_unembed=flag(answer.get("train_unembed")),
        train_mlp=flag(answer.get("train_mlp")),
        train_attn=flag(answer.get("train_attn")),
        optimizer_config=json_object(answer.get("optimizer_config")),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(filter(None, map(text, value))) if isinstance(value, list) else ()


def _time(value: Any) -> datetime | None:
    """An instant, from ISO 8601 or from the seconds or milliseconds since 1970; without a zone it is UTC."""
    try:
        if isinstance(value, str):
            instant = datetime.fromisoformat(value)
            return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
