"""Sampler handles: a sampling client as a line of text, as the official SDK writes and reads it."""

from __future__ import annotations

import json
from typing import Any, Self

import attrs

from tinkex._validation.fieldwise import Fieldwise

_OURS = ("model_path", "model_name", "tokenizer_id")


def name_of_model(base_model: str | None, model_path: str | None) -> str | None:
    """What tells a model from others: the base model, the weights, or both joined by "+"; None where neither is named.

    >>> name_of_model("Qwen/Qwen3-8B", "tinker://run/sampler_weights/1")
    'Qwen/Qwen3-8B+tinker://run/sampler_weights/1'
    """
    return "+".join(name for name in (base_model, model_path) if name is not None) or None


@attrs.frozen(eq=False, repr=False)
class Handle(Fieldwise):
    """Decoded sampler handle; it never holds a key."""

    base_url: str
    sampling_session_id: str
    session_id: str | None = None
    base_model: str | None = None
    record_stability_info: bool = False
    model_path: str | None = None
    """Saved weights, as the client was created with them."""
    model_name: str | None = None
    """The model as the client was created: see `name_of_model`. None for a client of a session id, whose model only the
    server knows, and for handles and pickles of versions without this field."""
    tokenizer_id: str | None = None
    """The name of the tokenizer, where the server has told it; None: the tokenizer is that of the base model."""

    @property
    def model(self) -> tuple[str | None, str | None] | None:
        """Base model and weights as the client was created with them; None where that is not known.

        `base_model` alone does not tell: it is also filled in later, and by the official SDK for weights.
        """
        if self.model_name is None:
            return None
        return None if self.model_name == self.model_path else self.base_model, self.model_path

    def encode(self) -> str:
        """Encode the handle as text: base64 of compact JSON, safe in a URL."""
        fields: dict[str, Any] = {
            "session_id": self.session_id,
            "sampling_session_id": self.sampling_session_id,
            "holder": {
                "base_url": self.base_url,
                "default_headers_overrides": {},
                "client_config": self._created_with(),
                "client_dynamic_config": {},
                "api_key": None,
            },
            "base_model": self.base_model,
            "record_stability_info": self.record_stability_info,
        }
        import base64  # slow to load, here and below

        return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a handle; raises ValueError naming what is wrong with it."""
        import base64

        try:
            fields: Any = json.loads(
                base64.urlsafe_b64decode(text.strip().encode("ascii") + b"=" * (-len(text.strip()) % 4))
            )
        except (ValueError, AttributeError, RecursionError):
            raise ValueError("handle is not a sampler handle: it must be the text that handle() gave") from None
        holder = fields.get("holder") if isinstance(fields, dict) else None
        if not isinstance(holder, dict):
            raise ValueError("handle is not a sampler handle: it names no server")  # noqa: TRY004 - it is text throughout
        config = holder.get("client_config")
        ours = config.get("tinkex") if isinstance(config, dict) else None
        ours = ours if isinstance(ours, dict) else {}
        return cls(
            base_url=_required_text("base_url", holder.get("base_url")),
            sampling_session_id=_required_text("sampling_session_id", fields.get("sampling_session_id")),
            session_id=_optional_text("session_id", fields.get("session_id")),
            base_model=_optional_text("base_model", fields.get("base_model")),
            record_stability_info=fields.get("record_stability_info") is True,
            **{name: _optional_text(name, ours.get(name)) for name in _OURS},
        )

    def _created_with(self) -> dict[str, Any]:
        """The fields of ours, where the official SDK ignores them: beside its own it accepts no others."""
        ours = {name: getattr(self, name) for name in _OURS if getattr(self, name) is not None}
        return {"tinkex": ours} if ours else {}

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read a pickle, also one of a version that had fewer fields."""
        for field in attrs.fields(type(self)):
            object.__setattr__(self, field.name, state.get(field.name, field.default))


def _required_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"handle is not a sampler handle: its {name} is missing")
    return value.rstrip("/") if name == "base_url" else value


def _optional_text(name: str, value: object) -> str | None:
    return None if value is None else _required_text(name, value)
