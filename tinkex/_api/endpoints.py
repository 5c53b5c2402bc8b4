"""The endpoints of the Tinker API that the client calls."""

from __future__ import annotations

from tinkex._transport.exchange import Pace


class Endpoint:
    """One path of the API and what is particular to calling it."""

    __slots__ = ("accept", "extra", "method", "pace", "path", "raw")

    def __init__(
        self,
        path: str,
        method: str = "POST",
        accept: str = "application/json",
        extra: tuple[tuple[str, str], ...] = (),
        *,
        raw: bool = False,
    ) -> None:
        self.path: str = path
        self.method: str = method
        self.accept: str = accept
        self.extra: tuple[tuple[str, str], ...] = extra
        self.raw: bool = raw  # sent with the key itself also where tokens are used
        self.pace: Pace = Pace()


CLIENT_CONFIG = Endpoint("client/config", raw=True)
DYNAMIC_CONFIG = Endpoint("client/dynamic_config")
AUTH_TOKEN = Endpoint("auth/token", raw=True)
CREATE_SESSION = Endpoint("create_session")
HEARTBEAT = Endpoint("session_heartbeat")
CREATE_SAMPLING_SESSION = Endpoint("create_sampling_session")
JOIN_SAMPLING_SESSION = Endpoint("join_sampling_session")
CAPABILITIES = Endpoint("get_server_capabilities", method="GET")
ASAMPLE = Endpoint(
    "asample", extra=(("X-Tinker-Sampling-Backpressure", "1"), ("x-sdk-method", "SamplingClient.sample"))
)
RETRIEVE_FUTURE = Endpoint(
    "retrieve_future", accept="application/x-protobuf", extra=(("X-Tinker-Request-Type", "Sample"),)
)
RETRIEVE_FUTURES = Endpoint("retrieve_futures")
CANCEL_FUTURE = Endpoint("cancel_future")
TELEMETRY = Endpoint("telemetry")
