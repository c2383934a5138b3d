"""Mutual TLS between sidecars and an engine: one directory a side, laid out as Kubernetes lays out a secret.

``tls.crt`` and ``tls.key`` are the side's own certificate and key, ``ca.crt`` is who must have signed the
other's. Both sides prove who they are: whoever may connect to an engine may make it work.
"""

from __future__ import annotations

from pathlib import Path

import grpc

from guardrail.errors import ConfigError


def server_credentials(directory: Path, flag: str) -> grpc.ServerCredentials:
    """What an engine serves with.

    Raises:
        ConfigError: a file is missing; names it and ``flag``.
    """
    key, certificate, authority = _files(directory, flag)
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=True
    )


def channel_credentials(directory: Path, flag: str) -> grpc.ChannelCredentials:
    """What a sidecar connects with.

    Raises:
        ConfigError: a file is missing; names it and ``flag``.
    """
    key, certificate, authority = _files(directory, flag)
    return grpc.ssl_channel_credentials(authority, key, certificate)


def _files(directory: Path, flag: str) -> tuple[bytes, bytes, bytes]:
    return (
        _read(directory / "tls.key", flag),
        _read(directory / "tls.crt", flag),
        _read(directory / "ca.crt", flag),
    )


def _read(path: Path, flag: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(flag, "", f"{path} cannot be read: {error.strerror}") from error
