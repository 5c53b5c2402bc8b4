"""Logs as lines of JSON, with the standard library: a formatter that keeps the fields of a record apart."""

from __future__ import annotations

import json
import logging

import tinkex
from tinkex.testing import FakeServer

USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JSONFormatter(logging.Formatter):
    """Writes a record as an object: time, level, logger and message, and the fields that tinkex and others add."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in USUAL},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    with FakeServer() as server, tinkex.ServiceClient.direct(server.url) as service:  # or: tinkex.ServiceClient()
        server.fail_next("asample", 429, headers={"Retry-After": "0.1"})  # so that there is something to log
        server.fail_next("asample", 503)
        client = service.create_sampling_client(base_model="Qwen/Qwen3-8B")
        client.sample([1, 2, 3], tinkex.SamplingParams(max_tokens=4)).result()
