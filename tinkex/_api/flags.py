"""Server flags: what client/config and client/dynamic_config ask of clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Flags:
    """What the server wants of its clients, from client/config and client/dynamic_config."""

    pjwt_auth_enabled: bool = False
    credential_default_source: str = "api_key"
    sample_dispatch_bytes_semaphore_size: int = 10 * 2**20
    inflight_response_bytes_semaphore_size: int = 50 * 2**20
    billing_exception_max_pause_duration_sec: float = 3600.0
    sample_no_retries: bool = False
    sample_max_concurrent_requests: int = 0  # 0: the server named none
    sample_use_retrieve_futures: bool = False
    sample_join_sampling_session: bool = False
    refresh_interval_sec: float = 300.0
    sample_cancel_enabled: bool = False
    sample_cancel_max_batch_size: int = 64

    def updated(self, answer: Mapping[str, Any]) -> Flags:
        """These flags with what `answer` says; unknown names and values of another type are left out."""
        changes = {}
        for field in attrs.fields(Flags):
            value = answer.get(field.name)
            default = field.default
            wanted: Any = (int, float) if isinstance(default, float) else type(default)
            if isinstance(value, wanted) and isinstance(value, bool) == isinstance(default, bool) and _sane(value):
                changes[field.name] = value
        return attrs.evolve(self, **changes)


def _sane(value: object) -> bool:
    return not isinstance(value, int | float) or 0 <= value < float("inf")
