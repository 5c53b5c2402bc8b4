"""Names of models that llm knows: it asks a plug-in for all of them at once, and finds no others."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Final

PREFIX: Final = "tinkex/"
_DAY: Final = 24 * 3600.0  # seconds that a list counts
_MINUTE: Final = 60.0  # the same where the models are what is asked for
_SECONDS: Final = 5.0  # that the server has to tell its models


def known_names() -> list[str]:
    """Return the names of models: on the command line, used before, and listed by the server.

    The list is kept in ``tinkex-models.json`` in llm's folder. The server is asked anew when it is a day old, or a
    minute where ``llm models`` runs, and never for a command that names its model.
    """
    named = names_in(sys.argv[1:])
    kept = _read()
    lists = sys.argv[1:2] == ["models"]
    age = time.time() - kept["asked"]
    if not _names_a_model(sys.argv[1:]) and not 0 <= age < (_MINUTE if lists else _DAY):
        kept = {**kept, "asked": time.time(), "listed": _ask(complains=lists) or kept["listed"]}
        _write(kept)
    return list(dict.fromkeys([*named, *kept["used"], *kept["listed"]]))


def remember(name: str) -> None:
    """Keep the name of a model that was sampled from, so that a conversation with it can go on."""
    kept = _read()
    if name not in kept["used"] and name not in kept["listed"]:
        _write({**kept, "used": [*kept["used"], name]})


def names_in(arguments: Sequence[str]) -> list[str]:
    """Return the models of tinkex that a command line names, without the prefix.

    >>> names_in(["-m", "tinkex/tinker://run/sampler_weights/1", "-mtinkex/a", "--model=tinkex/b", "hello"])
    ['tinker://run/sampler_weights/1', 'a', 'b']
    """
    texts = (text.removeprefix("--model=").removeprefix("-m") for text in arguments)
    return [text.removeprefix(PREFIX) for text in texts if text.startswith(PREFIX) and text != PREFIX]


def _names_a_model(arguments: Sequence[str]) -> bool:
    return any(text.startswith(("-m", "--model")) for text in arguments)


def _ask(*, complains: bool) -> list[str]:
    """Return the models of the server; none where it cannot be asked."""
    from tinkex import ClientConfig, CredentialError, RetryConfig, ServiceClient, TinkexError

    config = ClientConfig(
        connect_timeout=_SECONDS, reach_timeout=0.0, retry=RetryConfig(max_attempts=1), telemetry=False
    )
    try:
        with ServiceClient(config=config) as service:
            found = service.get_server_capabilities(timeout=_SECONDS).supported_models
    except CredentialError:  # this user of llm has no use for the plug-in yet
        return []
    except (TinkexError, TypeError, ValueError) as error:
        if complains:
            print(f"tinkex: the server's models are not known: {error}", file=sys.stderr)  # noqa: T201 - to llm's user
        return []
    return [each.model_name for each in found if each.model_name and each.sampleable is not False]


def _path() -> pathlib.Path:
    import llm

    return pathlib.Path(llm.user_dir()) / "tinkex-models.json"


def _servers() -> dict[str, Any]:
    try:
        kept = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _read() -> dict[str, Any]:
    """Return what is kept of the server that the environment names."""
    return {"asked": 0.0, "listed": [], "used": [], **_servers().get(os.environ.get("TINKER_BASE_URL", ""), {})}


def _write(kept: dict[str, Any]) -> None:
    servers = {**_servers(), os.environ.get("TINKER_BASE_URL", ""): kept}
    with contextlib.suppress(OSError):  # a folder that cannot be written to: the server is asked again next time
        path = _path()
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(servers, file, indent=1)
        pathlib.Path(file.name).replace(path)
