"""`tinkex.compat` without the official SDK."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["tinker"] = None
import tinkex, tinkex.compat
print(*sorted({"numpy", "httpx", "pydantic", "asyncio"} & set(sys.modules)))
for begin in (tinkex.compat.ServiceClient, tinkex.compat.install):
    try:
        begin()
    except tinkex.MissingExtraError as error:
        print(type(error).__name__)
print(tinkex.compat.uninstall())
"""


def test_nothing_is_imported_before_use():
    """Importing it needs no SDK and loads none of what the SDK brings; using it says what is missing."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["", "MissingExtraError", "MissingExtraError", "None"]
