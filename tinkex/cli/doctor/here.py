"""Diagnostic steps that need no network: this machine, and the key."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from tinkex import __version__
from tinkex.cli.doctor.finding import Trouble, unused
from tinkex.cli.options.settings import expiry, key_source, masked
from tinkex.config import VARIABLES, ClientConfig, is_official
from tinkex.credentials import resolve_credential
from tinkex.errors import CredentialError

_PACKAGES: Final = ("requests", "urllib3", "attrs", "tenacity")
_EXTRAS: Final = {
    "tokenizers": "tokenizers", "fast": "orjson", "numpy": "numpy", "chat": "jinja2", "local": "gguf", "cli": "rich",
    "images": "pillow", "parquet": "pyarrow", "report": "altair", "serve": "aiohttp", "prometheus": "prometheus-client",
    "ray": "ray", "otel": "opentelemetry-api", "llm": "llm", "lm-eval": "lm-eval", "inspect": "inspect-ai",
}  # fmt: skip
_PATCHERS: Final = ("gevent", "eventlet")
_VARIABLES: Final = {
    *(variable for variable, _ in VARIABLES.values()),
    *("TINKER_CREDENTIAL_CMD", "TINKER_LOG", "TINKER_FEATURE_GATES"),
    *("TINKEX_CACHE_DIR", "TINKEX_DEBUG", "TINKEX_GGUF"),
}
_FEW_FILES: Final = 1024
_SOON: Final = timedelta(hours=1)
_GET_A_KEY: Final = (
    "Run: export TINKER_API_KEY=tml-..., with a key from https://tinker.thinkingmachines.ai/keys; or use --local."
)


def environment(environ: Mapping[str, str] = os.environ) -> str:
    """Describe Python, packages and extras; warn where something about them is likely to be in the way."""
    extras = [name for name, package in _EXTRAS.items() if _version(package)]
    says = (
        f"tinkex {__version__}, Python {platform.python_version()} on {platform.system()} {platform.machine()};"
        f" {', '.join(f'{name} {_version(name)}' for name in _PACKAGES)}; extras: {', '.join(extras) or 'none'}"
    )
    doubts = _doubts(environ)
    hints = doubts + _hints()
    if hints:
        cause, advice = zip(*hints, strict=True)
        raise Trouble(says, " ".join(cause), " ".join(advice), "warning" if doubts else "ok")
    return says


def _doubts(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Likely faults of the environment, each with what to do about it."""
    found = []
    if odd := sorted(
        name for name in environ
        if name.startswith(("TINKER_", "TINKEX_")) and name not in _VARIABLES and not name.startswith("TINKEX_TEST_")
    ):  # fmt: skip
        found.append((f"No setting is read from {', '.join(odd)}.", "Check the spelling: tinkex config show --all"))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < _FEW_FILES:
        found.append((f"Only {files} files may be open, so few connections.", "Raise it: ulimit -n 4096"))
    return found


def _hints() -> list[tuple[str, str]]:
    """Possible faults of other programs with the same packages."""
    patchers = [name for name in _PATCHERS if _version(name)]
    if not patchers:
        return []
    names = " and ".join(patchers)
    return [(f"{names} is installed; tinkex is not tested where it replaces threads.", "Serve with threaded workers.")]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def key(config: ClientConfig, problem: str | None, *, local: bool) -> str:
    """Find the credential, as a client would, and say what can be known of it before it is sent.

    `problem` is what is wrong with it, where that kept it out of the settings.
    """
    if local:
        raise unused("the local model needs none")
    if problem is not None:
        raise Trouble(problem, "What TINKER_API_KEY holds is no key of this server.", _GET_A_KEY)
    source = key_source(config)
    try:
        found = resolve_credential(config)
    except CredentialError as error:
        advice = _GET_A_KEY if not source.startswith(("environment", "command")) else f"Correct it: {source}."
        raise Trouble(str(error), f"Looked at: {source}.", advice) from None
    if found is None:
        return "none, which is fine for servers that ask for none"
    says, ends = f"{masked(found)} from {source}", expiry(found)
    if ends is None:
        return says
    left = ends - datetime.now(UTC)
    if left < timedelta(0):
        cause, advice = "A token cannot be used after its end.", "Get a new one."
        raise Trouble(f"{says}, expired at {ends:%Y-%m-%d %H:%M} UTC", cause, advice)
    if left < _SOON and is_official(config.base_url):
        raise Trouble(f"{says}, until {ends:%H:%M} UTC", "It ends within the hour.", "Get a new one.", "warning")
    return f"{says}, until {ends:%Y-%m-%d %H:%M} UTC"
