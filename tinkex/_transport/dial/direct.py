"""Direct dialer, on the standard library: TCP, and TLS verified as requests would."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tinkex._transport.dial.base import Dialer, ready
from tinkex.config import ClientConfig

if TYPE_CHECKING:
    import ssl


class DirectDialer(Dialer):
    """Dials the server directly: no proxy, no adapter."""

    def __init__(self, config: ClientConfig, authorization: str | None = None) -> None:
        super().__init__(config)
        self.authorization = authorization
        secure = self.url.scheme == "https"
        self._name = unquote(self.url.hostname or "")
        # As bytes, since for text Python loads its tables of international names; those go through requests.
        self._address: tuple[Any, int] = self._name.encode("ascii"), self.url.port or (443 if secure else 80)
        self._context = tls_context(config) if secure else None

    def open(self) -> socket.socket:
        """A connected, verified, non-blocking socket; raises APIConnectionError."""
        try:
            raw = socket.create_connection(self._address, self._connect_timeout)
        except (OSError, ValueError) as error:
            raise self._refusal(error) from None
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return ready(raw if self._context is None else self._secured(raw, self._context))
        except BaseException as error:
            raw.close()
            if isinstance(error, OSError | ValueError):
                raise self._refusal(error) from None
            raise

    def _secured(self, raw: socket.socket, context: ssl.SSLContext) -> socket.socket:
        name = self._name.partition("%")[0].rstrip(".")  # no zone of an IPv6 address, no dot of the DNS root
        return context.wrap_socket(raw, server_hostname=name)


def tls_context(config: ClientConfig) -> ssl.SSLContext:
    """TLS context of all connections, made once: loading the certificates takes 20 ms of CPU."""
    try:
        context = _verifying(config.verify)
        if config.cert is not None:
            certificate, key = config.cert if isinstance(config.cert, tuple) else (config.cert, None)
            context.load_cert_chain(certificate, key, password="")  # rather than ask at the terminal
    except OSError as error:
        text = f"The certificates of verify={config.verify!r}, cert={config.cert!r} cannot be loaded"
        raise OSError(error.errno, f"{text}: {error.strerror}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _verifying(bundle: bool | str) -> ssl.SSLContext:
    import ssl

    if bundle is False:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        if bundle is True:
            import certifi  # what requests trusts

            bundle = certifi.where()
        directory = os.path.isdir(bundle)  # noqa: PTH112 - pathlib is slow to import
        context = ssl.create_default_context(cafile=None if directory else bundle, capath=bundle if directory else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
