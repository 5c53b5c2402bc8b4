"""Fake server in a subprocess."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import subprocess
import sys
import urllib.request
from collections import Counter
from typing import Any, Self

from tinkex._validation.public_names import with_public_names
from tinkex.testing._journal import RecordedRequest
from tinkex.testing._rules.remote import COMMANDS, CONTROL, CONTROL_KEY, CONTROL_KEY_VARIABLE


@with_public_names
class FakeServerProcess:
    """A `FakeServer` in a process of its own: for tests that fork, or that need a core for each side.

    Use it as a context manager. It ends with the process that made it.

    Args:
        like: The server to imitate, as in `FakeServer`.
        options: Anything else `FakeServer` takes that JSON can hold.

    Example::

        with FakeServerProcess(latency=0.1) as server:
            server.do("fail_next", "asample", status=429)
            service = tinkex.ServiceClient.direct(server.url)
    """

    def __init__(self, like: str = "tinker", **options: Any) -> None:
        command = [sys.executable, "-m", "tinkex.testing", "--port", "0", "--until-eof", "--like", like]
        for name, value in options.items():
            command += ["--option", f"{name}={json.dumps(value)}"]
        self._command = command
        self._control_key = secrets.token_urlsafe()
        self._process: subprocess.Popen[str] | None = None
        #: The base URL to give to a client; empty before the start.
        self.url: str = ""
        #: The authority to verify an HTTPS server by, as a PEM file; None for HTTP.
        self.ca_file: str | None = None

    def start(self) -> Self:
        """Start the process; returns once it accepts connections.

        Raises:
            RuntimeError: It ended instead; its messages are on stderr.
        """
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter
            self._command,
            env={**os.environ, CONTROL_KEY_VARIABLE: self._control_key},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        facts = self._process.stdout.readline().split()
        if not facts:
            self.stop()
            raise RuntimeError("The fake server did not start.")
        self.url, self.ca_file = facts[0], facts[1] if len(facts) > 1 else None
        return self

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            with self._process as process:
                process.terminate()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far; header names keep the case they came in."""
        report = self._exchange(None)["requests"]
        return [RecordedRequest(**{**each, "body": each["body"].encode()}) for each in report]

    @property
    def counts(self) -> Counter[str]:
        """How many requests each endpoint has had."""
        return Counter(request.endpoint for request in self.requests)

    @property
    def violations(self) -> list[str]:
        """What a strict server found wrong, as `rule: message`."""
        return [f"{each['rule']}: {each['message']}" for each in self._exchange(None)["violations"]]

    def do(self, command: str, *arguments: Any, **options: Any) -> None:
        """Call a method of the `FakeServer`, such as `fail_next`, `fault`, `hold` or `release`.

        Raises:
            ValueError: There is no such command, or it does not take these arguments.
        """
        if command not in COMMANDS:
            raise ValueError(f"command: {command!r} is not one of {', '.join(sorted(COMMANDS))}")
        self._exchange({"command": command, "arguments": arguments, "options": options})

    def _exchange(self, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        origin = "/".join(self.url.split("/", 3)[:3])
        headers = {CONTROL_KEY: self._control_key, "Content-Type": "application/json"}
        request = urllib.request.Request(origin + CONTROL, data, headers)  # noqa: S310  # our own server's
        context = None if self.ca_file is None else ssl.create_default_context(cafile=self.ca_file)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=10) as answer:
                decoded: dict[str, Any] = json.load(answer)
        except urllib.request.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["detail"]) from None
        return decoded
