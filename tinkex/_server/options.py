"""Server options: everything in which Tinker servers are known to differ, and presets that imitate them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import field, frozen

from tinkex._validation.arguments import check_count, check_seconds
from tinkex._validation.field_docs import with_field_docs

Pending = Literal["408", "try_again", "status"]
Answer = Literal["auto", "json", "protobuf"]
Failure = Literal["tinker", "tuft", "hatchery", "open_rl", "twinkle", "tinker_cloud", "skyrl", "wrapped"]


@with_field_docs
@frozen(kw_only=True)
class ServerOptions:
    """Options of one server; the defaults follow the hosted service.

    Durations are seconds. Instances are immutable and safe to share.
    """

    #: How long a poll is held while its sample is not ready; 0 answers at once.
    long_poll: float = 30.0
    #: How "not ready yet" is said: status 408, `type: try_again`, or `status: pending`.
    pending: Pending = "408"
    #: Whether a pending answer names the queue state and the request.
    pending_state: bool = True
    #: The encoding of results; "auto" follows the request's Accept header.
    answer: Answer = "auto"
    #: Whether a JSON result carries `type: sample`.
    answer_type: bool = True
    #: Whether a JSON result is wrapped as `{"status": "completed", "result": ...}`.
    wrapped: bool = False
    #: Whether asample waits and answers the result itself, without a promise.
    inline: bool = False
    #: The shape of a failed sample, by the server that uses it.
    failure: Failure = "tinker"
    #: The key clients must send; None accepts anything.
    require_key: str | None = field(default=None, repr=False)
    #: Whether `Authorization: Bearer` is accepted as well.
    bearer: bool = False
    #: The status for a wrong key; a missing one is always 401.
    wrong_key_status: int = 401
    #: Whether clients must exchange their key for a token, and how long a token lives.
    jwt: bool = False
    jwt_lifetime: float = 3600.0
    #: Flags answered by client/config and client/dynamic_config.
    client_config: Mapping[str, Any] = field(factory=dict)
    dynamic_config: Mapping[str, Any] = field(factory=dict)
    #: Endpoints that answer 404, by name.
    missing: frozenset[str] = field(default=frozenset(), converter=frozenset)
    #: Statuses of the create_* calls and of asample.
    created_status: int = 200
    accepted_status: int = 200
    #: Whether an unknown body field is refused with 422.
    forbid_unknown: bool = False
    #: Fields that create_session insists on.
    session_fields: tuple[str, ...] = ()
    #: Whether create_sampling_session answers a future.
    session_future: bool = False
    #: Whether any model name can be sampled from, or only the engine's.
    any_model: bool = False
    #: The one id that every sampling session gets; None gives each its own.
    constant_session_id: str | None = None
    #: The name of the tokenizer that clients are told to use, whatever the model; None leaves them to the model's name.
    tokenizer_id: str | None = None
    #: Whether polling an unknown future says "try again" instead of 404.
    unknown_pending: bool = False
    #: Whether a promise names the sequences to come.
    sequence_ids: bool = True
    #: Whether seq_id must be sent, and whether a repeated one answers the first promise again.
    require_seq_id: bool = True
    dedupe: bool = True
    #: Whether `stop` must be a list.
    list_stop: bool = False
    #: How get_server_capabilities names a model: a field, or "plain" for bare strings.
    model_field: str = "model_name"
    #: Results of at least this many bytes are first announced by size; None never does that.
    metadata_size: int | None = None
    #: Samples running at once before asample answers 429; None is no limit.
    max_in_flight: int | None = None
    #: Finished samples kept for retrieval.
    max_results: int = 100_000
    #: Bytes that everything kept may take, estimated; the oldest results, sessions and records are dropped beyond that,
    #: and further samples are answered 429 while those that run take half of it.
    max_bytes: int = 512 * 2**20
    #: Most sequences of a sample, and most alternatives at a position.
    max_count: int = 1024
    #: Largest body of a request, in bytes.
    max_body_bytes: int = 64 * 2**20
    #: Host names, besides the loopback ones, under which requests are taken; "*" is all. A server that listens beyond
    #: this machine takes those to its address, too.
    hosts: tuple[str, ...] = field(default=(), converter=tuple)
    #: Threads for engines that block.
    engine_threads: int = 4
    #: The state of the queue and its reason, read for every pending answer.
    queue_state: Callable[[], tuple[str, str | None]] = field(default=lambda: ("active", None), repr=False)
    #: The path in front of /api/v1.
    prefix: str = ""

    def __attrs_post_init__(self) -> None:
        for name in ("long_poll", "jwt_lifetime"):
            check_seconds(name, getattr(self, name), zero=True)
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if value is not None or name not in ("metadata_size", "max_in_flight"):
                check_count(name, value, least)

    @staticmethod
    def like(server: str, **changes: Any) -> ServerOptions:
        """Options that imitate one kind of server, with *changes* on top.

        Args:
            server: One of the names in `PRESETS`.

        Raises:
            ValueError: There is no such preset.
        """
        if server not in PRESETS:
            raise ValueError(f"server: {server!r} is not one of {', '.join(sorted(PRESETS))}")
        return ServerOptions(**{**PRESETS[server], **changes})


_COUNTS: Mapping[str, int] = {
    **dict.fromkeys(("wrong_key_status", "created_status", "accepted_status"), 100),
    **dict.fromkeys(("metadata_size", "max_in_flight", "max_results"), 0),
    **dict.fromkeys(("max_bytes", "max_count", "max_body_bytes", "engine_threads"), 1),
}
_RUNS = frozenset({"training_runs", "training_run", "run_checkpoints", "weights_info"})
_BASIC = _RUNS | {
    *("client/dynamic_config", "auth/token", "join_sampling_session", "cancel_future", "retrieve_futures"),
    *("checkpoints", "sessions", "session"),
}
_LOOSE: dict[str, Any] = {"sequence_ids": False, "dedupe": False, "require_seq_id": False}
_JSON: dict[str, Any] = {"answer": "json", "answer_type": False, "pending": "try_again"}

#: How servers seen running behave, by name.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tinker": {},
    "tuft": {
        **_LOOSE, "missing": _BASIC, "require_seq_id": True, "created_status": 201,
        "accepted_status": 202, "forbid_unknown": True, "session_fields": ("user_metadata",),
        "long_poll": 120.0, "pending": "try_again", "failure": "tuft", "wrong_key_status": 403,
    },
    "hatchery": {
        **_LOOSE, **_JSON, "missing": _BASIC | {"samplers"}, "bearer": True,
        "session_future": True, "long_poll": 600.0, "failure": "hatchery",
        "model_field": "model_id",
    },
    "open_rl": {
        **_LOOSE, **_JSON, "missing": _BASIC | {"samplers"}, "long_poll": 60.0,
        "constant_session_id": "sampling-session", "unknown_pending": True,
        "failure": "open_rl",
    },
    "twinkle": {
        **_LOOSE, **_JSON, "missing": _BASIC | {"client/config"}, "bearer": True,
        "forbid_unknown": True, "pending_state": False, "unknown_pending": True,
        "failure": "twinkle",
    },
    "tinker_cloud": {
        **_LOOSE, **_JSON, "pending": "408", "missing": _BASIC | {"client/config", "healthz"},
        "long_poll": 0.0, "pending_state": False, "failure": "tinker_cloud",
    },
    "skyrl": {
        **_LOOSE, "missing": _BASIC - _RUNS | {"finish"}, "require_seq_id": True,
        "client_config": {"pjwt_auth_enabled": False}, "answer": "protobuf",
        "session_fields": ("tags", "sdk_version"), "long_poll": 300.0, "pending_state": False,
        "failure": "skyrl", "list_stop": True,
    },
    "skyrl_0.3": {
        **_LOOSE, "missing": _BASIC - _RUNS | {"finish"}, "require_seq_id": True,
        "client_config": {"pjwt_auth_enabled": False}, "answer": "json",
        "session_fields": ("tags", "sdk_version"), "long_poll": 300.0, "pending_state": False,
        "failure": "skyrl", "list_stop": True,
    },
}  # fmt: skip
