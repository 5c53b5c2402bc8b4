"""Self-made TLS certificates for the fake server; needs trustme."""

from __future__ import annotations

import ssl
import tempfile

from attrs import define, field


@define(eq=False)
class Certificates:
    """Private certificate authority with one server and one client certificate."""

    ca_file: str
    client_file: str
    context: ssl.SSLContext = field(repr=False)
    directory: tempfile.TemporaryDirectory[str] = field(repr=False)


def make_certificates(*names: str, require_client: bool = False, version: ssl.TLSVersion | None = None) -> Certificates:
    """Create a certificate authority and a server-side SSL context for the host names and addresses given.

    Args:
        names: What the server's certificate is valid for.
        require_client: Whether clients must show a certificate.
        version: The only TLS version spoken; None leaves the choice to the peers.
    """
    import trustme

    authority = trustme.CA()
    directory = tempfile.TemporaryDirectory(prefix="tinkex-tls-")
    ca_file = f"{directory.name}/ca.pem"
    client_file = f"{directory.name}/client.pem"
    authority.cert_pem.write_to_path(ca_file)
    authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(client_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    if require_client:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return Certificates(ca_file, client_file, context, directory)
