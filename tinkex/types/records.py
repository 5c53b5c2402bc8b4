"""What a server has on record: training runs, their checkpoints, sessions, samplers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import field, frozen


@frozen(kw_only=True)
class Checkpoint:
    """Weights that were saved; None means that the server does not say. Times know their zone."""

    tinker_path: str
    """Where they are, as `model_path` takes it: "tinker://<run>/<kind>/<name>"."""
    checkpoint_id: str
    """The kind and the name: the last two parts of the path."""
    checkpoint_type: str | None = None
    """What they are good for: "sampler" to sample from, "training" to go on with, "external" for other programs."""
    time: datetime | None = None
    """When they were saved."""
    size_bytes: int | None = None
    public: bool = False
    """Whether other accounts may use them."""
    expires_at: datetime | None = None
    """When the server may delete them; None also where it never will."""
    user_metadata: dict[str, Any] = field(factory=dict, hash=False)


@frozen(kw_only=True)
class TrainingRun:
    """A training run; None means that the server does not say."""

    training_run_id: str
    base_model: str | None = None
    """The model it began with."""
    model_owner: str | None = None
    is_lora: bool | None = None
    lora_rank: int | None = None
    corrupted: bool = False
    """Whether the server has given the run up."""
    last_request_time: datetime | None = None
    last_checkpoint: Checkpoint | None = None
    """The last one to go on training with; None where there is none."""
    last_sampler_checkpoint: Checkpoint | None = None
    """The last one to sample from; None where there is none."""
    user_metadata: dict[str, Any] = field(factory=dict, hash=False)


@frozen(kw_only=True)
class SessionInfo:
    """One session, and what was made in it."""

    session_id: str
    training_run_ids: tuple[str, ...] = ()
    sampler_ids: tuple[str, ...] = ()
    """Its sampling sessions, as `create_sampling_client(sampling_session_id=...)` takes them."""
    display_name: str | None = None
    user_metadata: dict[str, Any] = field(factory=dict, hash=False)


@frozen(kw_only=True)
class SamplerInfo:
    """What a sampling session samples from; None means that the server does not say."""

    sampler_id: str
    base_model: str | None = None
    model_path: str | None = None
    """Its weights, as "tinker://..."; None for a base model."""


@frozen(kw_only=True)
class WeightsInfo:
    """What saved weights are; None means that the server does not say."""

    base_model: str | None = None
    is_lora: bool | None = None
    lora_rank: int | None = None
    train_unembed: bool | None = None
    """Whether the unembedding was trained."""
    train_mlp: bool | None = None
    """Whether the feed-forward layers were trained."""
    train_attn: bool | None = None
    """Whether the attention layers were trained."""
    optimizer_config: dict[str, Any] | None = field(default=None, hash=False)
