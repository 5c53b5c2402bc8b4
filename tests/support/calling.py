"""A bare client for the server's tests: it says exactly what the test says."""

from __future__ import annotations

import requests

KEY = "tml-test-key"
PROTOBUF = {"Accept": "application/x-protobuf"}


class Caller:
    """One keep-alive connection to a server, and a sampling session on it once asked for."""

    def __init__(self, server, key=KEY):
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["X-API-Key"] = key
        self.next_seq_id = 0
        self.sampling_session_id = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()

    def post(self, path, body=None, *, timeout=5, **options):
        """POST a JSON body under /api/v1."""
        url = f"{self.server.url}/api/v1/{path}"
        return self.session.post(url, json=body or {}, timeout=timeout, **options)

    def get(self, path, **options):
        """GET under /api/v1."""
        return self.session.get(f"{self.server.url}/api/v1/{path}", timeout=5, **options)

    def open(self):
        """Open a session and a sampling session; the id of the latter."""
        tags = {"tags": [], "user_metadata": {}, "sdk_version": "0.38.0"}
        session_id = self.post("create_session", tags).json()["session_id"]
        body = {"session_id": session_id, "sampling_session_seq_id": 0, "base_model": "fake/model"}
        answer = self.post("create_sampling_session", body).json()
        if "request_id" in answer:
            answer = self.post("retrieve_future", {"request_id": answer["request_id"]}).json()
        self.sampling_session_id = answer["sampling_session_id"]
        return self.sampling_session_id

    def body(self, prompt=(1, 2, 3), max_tokens=4, **fields):
        """The body of a sample, under the next seq_id."""
        if self.sampling_session_id is None:
            self.open()
        self.next_seq_id += 1
        return {
            "sampling_session_id": self.sampling_session_id,
            "seq_id": self.next_seq_id - 1,
            "prompt": {"chunks": [{"type": "encoded_text", "tokens": list(prompt)}]},
            "sampling_params": {"max_tokens": max_tokens},
            **fields,
        }

    def submit(self, **fields):
        """Submit a sample; the promise."""
        return self.post("asample", self.body(**fields), headers={"X-Tinker-Sampling-Backpressure": "1"})

    def promise(self, **fields):
        """Submit a sample; the id of the request."""
        return self.submit(**fields).json()["request_id"]

    def poll(self, request_id, **options):
        """Ask for a result once."""
        return self.post("retrieve_future", {"request_id": request_id}, **options)
