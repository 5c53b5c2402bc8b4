"""Command line of the fake server: `python -m tinkex.testing --port 8000`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import sys
from typing import Any

from tinkex._server import PRESETS
from tinkex.testing._fake import FakeServer
from tinkex.testing._rules.remote import CONTROL_KEY_VARIABLE


def main(arguments: list[str] | None = None) -> None:
    """Print the server's URL (with TLS also its CA file) on one line, then serve."""
    settings = _parser().parse_args(arguments)
    options: dict[str, Any] = dict(settings.option)
    _allow_many_connections()
    options["_control_key"] = os.environ.pop(CONTROL_KEY_VARIABLE, None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), FakeServer(settings.like, port=settings.port, **options) as server:
        print(server.url, *([server.ca_file] if options.get("tls") else []), flush=True)  # noqa: T201  # a command
        if settings.until_eof:
            sys.stdin.read()
        else:
            signal.pause()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tinkex.testing", description="Run a fake Tinker server.")
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0 (the default) picks a free port")
    parser.add_argument("--like", default="tinker", choices=sorted(PRESETS), help="the server to imitate")
    parser.add_argument(
        "--option",
        action="append",
        type=_option,
        default=[],
        metavar="NAME=JSON",
        help="any other argument of FakeServer, such as latency=0.1 or strict=true; may be repeated",
    )
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    return parser


def _option(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=JSON")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _allow_many_connections() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
