"""Records of a server: training runs, their checkpoints, sessions, samplers; its state, and the client's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from attrs import asdict, field, fields, frozen

from tinkex._validation.field_docs import with_field_docs


@with_field_docs
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
    """How large it is."""
    public: bool = False
    """Whether other accounts may use them."""
    expires_at: datetime | None = None
    """When the server may delete them; None also where it never will."""
    user_metadata: dict[str, Any] = field(factory=dict, hash=False)
    """What whoever saved it noted with it."""


@with_field_docs
@frozen(kw_only=True)
class TrainingRun:
    """A training run; None means that the server does not say."""

    training_run_id: str
    """Its id, with which the paths of its checkpoints begin."""
    base_model: str | None = None
    """The model it began with."""
    model_owner: str | None = None
    """The account that it belongs to."""
    is_lora: bool | None = None
    """Whether it trains LoRA adapters."""
    lora_rank: int | None = None
    """Their rank; None also where it trains none."""
    corrupted: bool = False
    """Whether the server has given the run up."""
    last_request_time: datetime | None = None
    """When it was last worked on."""
    last_checkpoint: Checkpoint | None = None
    """The last one to go on training with; None where there is none."""
    last_sampler_checkpoint: Checkpoint | None = None
    """The last one to sample from; None where there is none."""
    user_metadata: dict[str, Any] = field(factory=dict, hash=False)
    """What whoever began it noted with it."""


@with_field_docs
@frozen(kw_only=True)
class SessionInfo:
    """One session, and what was made in it."""

    session_id: str
    """Its id."""
    training_run_ids: tuple[str, ...] = ()
    """The training runs that began in it."""
    sampler_ids: tuple[str, ...] = ()
    """Its sampling sessions, as `create_sampling_client(sampling_session_id=...)` takes them."""
    display_name: str | None = None
    """Its name in the console; None: it has none."""
    user_metadata: dict[str, Any] = field(factory=dict, hash=False)
    """What its client noted with it."""


@with_field_docs
@frozen(kw_only=True)
class SamplerInfo:
    """Sampler record: what a sampling session samples from; None means that the server does not say."""

    sampler_id: str
    """The id of the sampling session."""
    base_model: str | None = None
    """The name of the model under the weights."""
    model_path: str | None = None
    """Its weights, as "tinker://..."; None for a base model."""


@with_field_docs
@frozen(kw_only=True)
class WeightsInfo:
    """Metadata of saved weights; None means that the server does not say."""

    base_model: str | None = None
    """The name of the model that was trained."""
    is_lora: bool | None = None
    """Whether they are LoRA adapters."""
    lora_rank: int | None = None
    """Their rank; None also where they are none."""
    train_unembed: bool | None = None
    """Whether the unembedding was trained."""
    train_mlp: bool | None = None
    """Whether the feed-forward layers were trained."""
    train_attn: bool | None = None
    """Whether the attention layers were trained."""
    optimizer_config: dict[str, Any] | None = field(default=None, hash=False)
    """The settings of the optimizer that they were trained with."""


@with_field_docs
@frozen
class SupportedModel:
    """A model that the server offers; None means that the server does not say."""

    model_name: str
    """The name to pass as `base_model`."""
    max_context_length: int | None = None
    """Most tokens of prompt and answer together."""
    trainable: bool | None = None
    """Whether it can be trained."""
    sampleable: bool | None = None
    """Whether it can be sampled from."""
    tokenizer_id: str | None = None
    """The model whose tokenizer fits."""


def _models(models: Iterable[SupportedModel]) -> tuple[SupportedModel, ...]:
    return tuple(models)


@with_field_docs
@frozen
class ServerCapabilities:
    """Capabilities of a server: the models that it offers."""

    supported_models: tuple[SupportedModel, ...] = field(default=(), converter=_models)
    """The models, in the server's order."""


@with_field_docs
@frozen(kw_only=True)
class ServiceStats:
    """A service client at one moment. Taking it never blocks, so the numbers may be apart by a few samples."""

    in_flight: int = 0
    """Samples sent and not ended."""
    queued: int = 0
    """Samples waiting for a place."""
    submitting: int = 0
    """Samples being sent, or waiting for a connection to be sent over."""
    waiting: int = 0
    """Samples that the server has, and has not answered."""
    fetching: int = 0
    """Samples whose result is there, and is being read or waits for room in memory."""
    retrying: int = 0
    """Samples waiting to try again, after a failure or for the end of a pause."""
    last_failure: str | None = None
    """The last failure that something went on after, in words; None if there was none. It may be long over."""
    paused_for: float = 0.0
    """Seconds until the server may be asked again; 0 when nothing is paused."""
    paused_reason: str | None = None
    """Why it is paused, in the server's words where it gave any; None when it is not."""
    paused_cause: str | None = None
    """The same in a word: "rate_limit", "capacity", "billing" or "unknown"; None when it is not paused."""
    prompt_tokens: int = 0
    """Prompt tokens of all finished samples."""
    sampled_tokens: int = 0
    """Sampled tokens of all finished samples."""
    completed: int = 0
    """Samples that ended with a result."""
    failed: int = 0
    """Samples that ended with an error, or cancelled."""
    connections: int = 0
    """Open connections."""
    threads: int = 0
    """Threads of this client."""
    last_heartbeat: float | None = None
    """Seconds since the server last confirmed the session, by beginning it or by a heartbeat; None before that."""

    def __getstate__(self) -> dict[str, Any]:
        return asdict(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for each in fields(ServiceStats):  # a pickle of an earlier version has fewer
            object.__setattr__(self, each.name, state.get(each.name, each.default))


@with_field_docs
@frozen(kw_only=True)
class Health:
    """Health of a service client: whether it can be expected to work."""

    ok: bool
    """False where something is known to be wrong; True also where nothing is known yet."""
    state: str = "ok"
    """"ok", "unused", "starting", "unreachable", "paused", "silent" (no heartbeat is confirmed: the reason has what the
    last one was answered), "ended" (the server has ended the session, or has forgotten it and a new one is to begin)
    or "closed"."""
    reason: str | None = None
    """What is wrong or not known, in words; None when all is well."""
