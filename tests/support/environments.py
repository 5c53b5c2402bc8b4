"""Environments of their own for programs of others, made once and kept in the cache of the tests."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("TINKEX_TEST_CACHE", "/tmp/tinkex-test-cache"))


def environment(name, *requirements):
    """The folder of the programs of an environment with these packages; CalledProcessError where they cannot be had."""
    key = hashlib.sha256(repr((sys.version_info[:2], requirements)).encode()).hexdigest()[:12]
    home = CACHE / f"{name}-{key}"
    done = home / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *requirements], check=True, timeout=1200)
        done.touch()
    return home / "bin"
