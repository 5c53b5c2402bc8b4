"""Credential chain: where the credential comes from, and checks of it before it is sent.

The chain: `api_key`, `TINKER_API_KEY` (both already in the configuration), the command `TINKER_CREDENTIAL_CMD`, and the
key that was stored by a login in ~/.tinker/credentials.json.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from tinkex._concurrency.clock import SYSTEM_CLOCK, Clock
from tinkex._validation.fieldwise import Record
from tinkex._validation.json_values import text
from tinkex.config import ClientConfig, is_official
from tinkex.errors import CredentialError
from tinkex.errors._frames import frameless

COMMAND_TIMEOUT = 60.0
"""Seconds that the credential command may take."""


def run_command(command: str, timeout: float) -> str:
    """Run *command* through the shell and return its output; what it complains of goes to our stderr."""
    import subprocess  # slow to import, and most credentials come from elsewhere

    done = subprocess.run(  # noqa: S602 - the user's own command, meant for the shell
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=timeout, check=True
    )
    return done.stdout.decode("utf-8")


@frameless
def resolve_credential(
    config: ClientConfig,
    environ: Mapping[str, str] = os.environ,
    run: Callable[[str, float], str] = run_command,
    *,
    command_required: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> str | None:
    """Find the credential to send; None where there is none and the server may not need one.

    It may run a command and read a file, so it can block: for up to `COMMAND_TIMEOUT` seconds. Call it once a session
    or token exchange, and after a 401. The stored key is for the official host and goes nowhere else.

    Args:
        config: the settings; their `api_key` comes first.
        environ: where `TINKER_CREDENTIAL_CMD` and `HOME` are looked up.
        run: runs a command and returns its output.
        command_required: the server wants the command to be used, unless the key is a JWT already.
        clock: tells whether a JWT has expired.

    Raises:
        CredentialError: there is none although one is needed, or the one found cannot be used.
    """
    command = environ.get("TINKER_CREDENTIAL_CMD", "").strip()
    key = config.api_key
    if command_required and not (key or "").startswith("eyJ"):
        if not command:
            raise CredentialError("The server wants a credential command: set TINKER_CREDENTIAL_CMD.")
        key = None
    if key is None and command:
        key = _from_command(command, run)
    if key is None and is_official(config.base_url):
        key = _from_file(environ)
    check_credential(key, config.base_url, clock=clock)
    return key


@frameless
def check_credential(key: str | None, base_url: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
    """Refuse a credential that cannot be sent, or that the official server is sure to refuse.

    Other servers judge for themselves; none is fine there.

    Raises:
        CredentialError: *key* is missing, has an unknown format, or is a JWT past its end.
    """
    if key is not None and not (key.isascii() and key.isprintable()):
        raise CredentialError("The credential found is not plain text on one line.")
    if not is_official(base_url):
        return
    if key is None:
        raise CredentialError(
            "No API key was found: pass api_key, set TINKER_API_KEY, set TINKER_CREDENTIAL_CMD to a command that prints"
            " one, or store one in ~/.tinker/credentials.json by a login."
        )
    if not key.startswith(("tml-", "eyJ")):
        raise CredentialError("The API key has no known format: it must start with 'tml-' or 'eyJ'.")
    claims = parse_claims(key)
    if claims is not None and claims.expires_at is not None and claims.expires_at <= clock.wall():
        raise CredentialError("The JWT given as a credential has expired: get a new one.")


class JwtClaims(Record):
    """Claims of a JWT; its signature is the server's to check. Anything it leaves out is None."""

    __slots__ = ("email", "expires_at", "issued_at", "issuer", "org_id", "subject")

    def __init__(
        self,
        expires_at: float | None = None,
        issued_at: float | None = None,
        subject: str | None = None,
        org_id: str | None = None,
        email: str | None = None,
        issuer: str | None = None,
    ) -> None:
        self.expires_at: float | None = expires_at  # when it ends, in seconds since 1970
        self.issued_at: float | None = issued_at  # when it was made, in seconds since 1970
        self.subject: str | None = subject  # who it stands for, as a URN
        self.org_id: str | None = org_id  # the organisation of the subject
        self.email: str | None = email  # the address of the subject
        self.issuer: str | None = issuer  # who made it; Tinker's own begin with "passport-"


def parse_claims(token: str) -> JwtClaims | None:
    """Read the claims of a JWT; None for anything that is not one. The signature is not checked.

    >>> parse_claims("eyJhbGciOiJub25lIn0.eyJleHAiOjQyLCJzdWIiOiJ1cm46dSJ9.").expires_at
    42.0
    >>> parse_claims("tml-0123") is None
    True
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    import base64  # slow to load, and most credentials are none of these

    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    return JwtClaims(
        expires_at=_instant(claims.get("exp")),
        issued_at=_instant(claims.get("iat")),
        subject=text(claims.get("sub")),
        org_id=text(claims.get("org_id")),
        email=text(claims.get("email")),
        issuer=text(claims.get("iss")),
    )


def _from_command(command: str, run: Callable[[str, float], str]) -> str:
    """Run the credential command. The errors of subprocess hold it and its output: neither may be repeated."""
    import subprocess

    try:
        key = run(command, COMMAND_TIMEOUT).strip()
    except subprocess.TimeoutExpired:
        raise CredentialError(f"TINKER_CREDENTIAL_CMD took longer than {COMMAND_TIMEOUT:g} s.") from None
    except subprocess.CalledProcessError as error:
        raise CredentialError(f"TINKER_CREDENTIAL_CMD ended with status {error.returncode}.") from None
    except (OSError, ValueError) as error:
        raise CredentialError(f"TINKER_CREDENTIAL_CMD could not be run or read: {type(error).__name__}.") from None
    if not key:
        raise CredentialError("TINKER_CREDENTIAL_CMD printed nothing: it must print the credential.")
    return key


def _from_file(environ: Mapping[str, str]) -> str | None:
    """Read the default key of the file that a login writes; None without a login."""
    import pathlib

    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    path = pathlib.Path(home, ".tinker", "credentials.json")
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CredentialError(
            f"{path} cannot be read: {type(error).__name__}. Log in again, or pass api_key."
        ) from None
    return _default_key(stored)


def _default_key(stored: Any) -> str | None:
    if not isinstance(stored, dict) or not isinstance(stored.get("default"), str):
        return None
    keys = stored.get("keys")
    entry = keys.get(stored["default"]) if isinstance(keys, dict) else None
    return text(entry.get("key")) if isinstance(entry, dict) else None


def _instant(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        instant = float(value)
    except OverflowError:
        return None
    return instant if math.isfinite(instant) else None
