"""Logs as lines of JSON, with structlog: its own, and those of tinkex and others."""

from __future__ import annotations

import logging

import structlog

import tinkex
from tinkex.testing import FakeServer

shared: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),  # the fields of tinkex's records
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
formatter = structlog.stdlib.ProcessorFormatter(
    foreign_pre_chain=shared,
    processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
)
handler = logging.StreamHandler()
handler.setFormatter(formatter)
logging.basicConfig(level=logging.INFO, handlers=[handler])
structlog.configure(
    processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
)

with FakeServer() as server, tinkex.ServiceClient.direct(server.url) as service:  # or: tinkex.ServiceClient()
    server.fail_next("asample", 429, headers={"Retry-After": "0.1"})  # so that there is something to log
    server.fail_next("asample", 503)
    client = service.create_sampling_client(base_model="Qwen/Qwen3-8B")
    structlog.contextvars.bind_contextvars(user="u-1")  # tinkex's records about a sample have it, too
    response = client.sample([1, 2, 3], tinkex.SamplingParams(max_tokens=4)).result()
    structlog.get_logger("example").info("sampled", tokens=len(response.sequences[0].tokens))
