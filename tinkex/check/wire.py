"""Plain HTTP to a Tinker server: the protocol without a client that mends anything."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

import requests

from tinkex._identity import PROTOCOL_VERSION, USER_AGENT
from tinkex.check.checks.protocol import Reply
from tinkex.config import ClientConfig, heeds_proxy_variables
from tinkex.credentials import resolve_credential

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_PAUSE: Final = 0.3


class RawSession:
    """A session and a sampling session of their own, in plain requests; sends each request once."""

    def __init__(self, config: ClientConfig, model: Mapping[str, str], timeout: float) -> None:
        self._http = requests.Session()
        self._http.trust_env = heeds_proxy_variables(config)
        self._http.auth = requests.utils.get_netrc_auth(config.base_url) if config.trust_env else None
        self._http.verify, self._http.cert = config.verify, config.cert
        self._http.proxies.update(config.proxies or {})
        self._http.headers.update({"User-Agent": USER_AGENT, **config.default_headers})
        if key := resolve_credential(config):
            self._http.headers["X-API-Key"] = key
        self._base = f"{config.base_url}/api/v1/"
        self._timeout = timeout
        self.requests: int = 0
        self.prompt_tokens: int = 0
        self.sampled_tokens: int = 0
        self._session_id: str | None = None
        self.refusal: str | None = None
        self._sampler = self._open(model)

    def _open(self, model: Mapping[str, str]) -> object:
        """Begin the sessions; where that is refused, `refusal` says how."""
        fields: dict[str, Any] = {
            "tags": [],
            "user_metadata": {},
            "sdk_version": PROTOCOL_VERSION,
            "type": "create_session",
        }
        begun = self.post("create_session", fields)
        self._session_id = begun.fields.get("session_id")
        fields = {"session_id": self._session_id, "sampling_session_seq_id": 0, **model,
                  "type": "create_sampling_session"}  # fmt: skip
        made = self.post("create_sampling_session", fields) if self._session_id else begun
        if made.request_id is not None:
            made = self.post("retrieve_future", {"request_id": made.request_id})
        found = made.fields.get("sampling_session_id")
        if found is None:
            self.refusal = f"plain requests without tinkex are answered {made}"
        return found

    def post(
        self, path: str, fields: Mapping[str, Any], headers: Mapping[str, str] = {}, *, timeout: float = 0
    ) -> Reply:
        """Send one request, and read the response as it comes, without decompressing it."""
        self.requests += 1
        begun = time.monotonic()
        sent = {"Content-Type": JSON, "Accept": JSON, "Accept-Encoding": "identity", **headers}
        try:
            with self._http.post(
                self._base + path, data=json.dumps(fields), headers=sent, timeout=timeout or self._timeout, stream=True
            ) as got:
                body = got.raw.read(decode_content=False)
        except requests.RequestException:
            return Reply(status=0, seconds=time.monotonic() - begun)
        return Reply(
            status=got.status_code, body=body, content_type=got.headers.get("Content-Type", "").lower(),
            encoding=got.headers.get("Content-Encoding", "").lower(), seconds=time.monotonic() - begun,
        )  # fmt: skip

    def submit(self, number: int, prompt: tuple[int, ...], max_tokens: int, **params: Any) -> Reply:
        """Submit a sample under a sequence number."""
        self.prompt_tokens += len(prompt)
        chunk = {"type": "encoded_text", "tokens": list(prompt)}
        fields = {"sampling_session_id": self._sampler, "seq_id": number, "num_samples": 1, "type": "sample",
                  "prompt": {"chunks": [chunk]}, "sampling_params": {"max_tokens": max_tokens, **params}}  # fmt: skip
        return self.post("asample", fields, {"X-Tinker-Sampling-Backpressure": "1"})

    def poll(self, request_id: str, accept: str = JSON, encoding: str = "identity", *, timeout: float = 0) -> Reply:
        """Ask for a result once."""
        headers = {"Accept": accept, "Accept-Encoding": encoding}
        return self.post("retrieve_future", {"request_id": request_id}, headers, timeout=timeout)

    def await_result(self, request_id: str, seconds: float) -> list[Reply]:
        """Poll until there is a result or an error, or the time is over."""
        end, replies = time.monotonic() + seconds, list[Reply]()
        while not replies or (replies[-1].pending and time.monotonic() < end):
            if replies and replies[-1].seconds < _PAUSE:
                time.sleep(_PAUSE)
            replies.append(self.poll(request_id, timeout=max(1.0, end - time.monotonic())))
        if (response := replies[-1].response) is not None:
            self.sampled_tokens += sum(sequence.length for sequence in response.sequences)
        return replies

    def cancel(self, request_id: str) -> Reply:
        """Cancel a sample."""
        return self.post("cancel_future", {"request_id": request_id})

    def close(self) -> None:
        """Finish the session, where the server has that."""
        if self._session_id:
            self.post(f"sessions/{self._session_id}/finish", {"reason": {"type": "success"}, "detail": None})
        self._http.close()
