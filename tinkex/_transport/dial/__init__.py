"""Dialers: open sockets to the server, directly or as requests would.

Where nothing stands between - no proxy, no adapter of the user's - a socket needs the standard library only. In every
other case requests decides, once a client, from settings and environment, and urllib3 connects. The socket that comes
out is used without them. Loading both takes as long as fifty samples, and as much memory as the rest of tinkex.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from tinkex._transport.dial.base import Dialer, not_now
from tinkex._transport.dial.direct import DirectDialer
from tinkex.config import ClientConfig, heeds_proxy_variables

__all__ = ["Dialer", "make_dialer", "not_now"]


def make_dialer(config: ClientConfig) -> Dialer:
    """The dialer that the settings and, where they are trusted, environment and netrc file ask for.

    Raises:
        OSError: A file of certificates or keys cannot be read.
    """
    asks_for_requests = config.adapter is not None or _may_need_proxy(config) or not config.base_url.isascii()
    if not asks_for_requests and not (config.trust_env and _has_netrc()):
        return DirectDialer(config)
    from tinkex._transport.dial.requests_adapter import AdaptedDialer, netrc_authorization

    if asks_for_requests:
        return AdaptedDialer(config)
    return DirectDialer(config, netrc_authorization(config))


def _may_need_proxy(config: ClientConfig) -> bool:
    """False where requests, asked, could only say that there is no proxy."""
    if config.proxies or not heeds_proxy_variables(config):
        return bool(config.proxies)
    if sys.platform == "darwin":  # has proxies among the settings of the system, too
        from urllib.request import getproxies

        return bool(getproxies())
    wanted = (f"{urlsplit(config.base_url).scheme}_proxy", "all_proxy")
    return any(name.lower() in wanted for name in os.environ)


def _has_netrc() -> bool:
    places = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    return any(os.path.exists(os.path.expanduser(place)) for place in places)  # noqa: PTH110, PTH111 - as requests does
