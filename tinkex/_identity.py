"""The client's identity on the wire: versions, user agent, random ids."""

from __future__ import annotations

import os

__version__ = "0.1.0"
PROTOCOL_VERSION = "0.38.0"
"""The official SDK version whose protocol is spoken; the server picks its flags by it."""
USER_AGENT = f"tinkex-python/{__version__}"


def random_uuid() -> str:
    """A random UUID (version 4 of RFC 9562) as text; `uuid`, which makes them too, is slow to import.

    >>> len(random_uuid()), random_uuid()[14]
    (36, '4')
    """
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
