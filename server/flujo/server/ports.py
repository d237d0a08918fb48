"""Bind a server to its address: a private socket file, or a TCP port with or without TLS."""

from __future__ import annotations

import grpc
from grpc import aio

from flujo.client.addresses import ServerAddress
from flujo.client.credentials import read_file
from flujo.kernel.errors import AddressInUseError, InvalidTokensError

from .access import Security
from .sockets import private


def bind(server: aio.Server, address: ServerAddress, security: Security) -> str:
    """Bind the server and return its address, in which a port 0 has become the one that was chosen.

    Raises AddressInUseError, InvalidTokensError for certificates that cannot be used."""
    target = address.target
    if address.path is not None:
        with private(address):
            server.add_insecure_port(target)
        return address.text
    try:
        if security.has_tls:
            port = server.add_secure_port(target, _server_credentials(security))
        else:
            port = server.add_insecure_port(target)
    except RuntimeError as error:  # gRPC's only word for it
        raise AddressInUseError(address.text) from error
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"tcp://{host}:{port}"


def _server_credentials(security: Security) -> grpc.ServerCredentials:
    assert security.certificate is not None
    assert security.key is not None
    certificate, key = read_file(security.certificate), read_file(security.key)
    for path, content in ((security.certificate, certificate), (security.key, key)):
        if b"-----BEGIN " not in content:
            raise InvalidTokensError(str(path), "it is not in the PEM format")
    authority = None if security.client_ca is None else read_file(security.client_ca)
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=authority is not None
    )
