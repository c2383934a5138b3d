"""Envoy configurations: the whole bootstrap for a laptop, or the filter alone for an Envoy that is there.

Written as data and printed as YAML. Facts behind the settings stand in Envoy's own documentation:
ext_proc needs both body modes FULL_DUPLEX_STREAMED with trailers SEND; one ext_proc stream is open a
live LLM stream, so the default circuit breaker of 1,024 requests would cut busy servers; a streamed
answer may take minutes, so the route's timeout is off: scoring has the sidecar's deadlines, a silent
upstream has the idle timeout.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from guardrail.errors import ConfigError

_TYPE = "type.googleapis.com/envoy."
_MAX_STREAMS = 65_536
_BUFFER_BYTES = 1024 * 1024
_MAX_REQUEST_BYTES = 64 * 1024 * 1024
_IDLE_S = 900  # a server that says nothing for a quarter of an hour is gone
_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/cert.pem",  # macOS, BSD
)
_UPSTREAM, _SIDECAR = "upstream", "guardrail"


@dataclass(frozen=True, slots=True)
class Upstream:
    """An LLM server, as its URL names it."""

    host: str
    port: int
    tls: bool
    path: str
    """Path prefix of the URL, without a trailing slash; "" for none."""


def parse_upstream(url: str) -> Upstream:
    """Read an upstream URL.

    Raises:
        ConfigError: it is not an http or https URL with a host.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError("--upstream", "", f"{url!r}: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError("--upstream", "", f"must be a URL like http://HOST:PORT, got {url!r}")
    tls = parts.scheme == "https"
    return Upstream(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"))


def parse_listen(listen: str, flag: str = "--listen") -> tuple[str, int]:
    """Split "HOST:PORT".

    Raises:
        ConfigError: it is not one; names ``flag``.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(flag, "", f"must be HOST:PORT, got {listen!r}")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":PORT" asks for all addresses


def ext_proc_filter() -> dict[str, Any]:
    """The HTTP filter that puts the sidecar into a route."""
    return {
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": _TYPE + "extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": _SIDECAR}},
            "failure_mode_allow": False,
            "processing_mode": {
                "request_header_mode": "SEND",
                "response_header_mode": "SEND",
                "request_body_mode": "FULL_DUPLEX_STREAMED",
                "response_body_mode": "FULL_DUPLEX_STREAMED",
                "request_trailer_mode": "SEND",
                "response_trailer_mode": "SEND",
            },
            "message_timeout": "30s",
            "metadata_options": {"receiving_namespaces": {"untyped": [_SIDECAR]}},
        },
    }


def buffer_filter() -> dict[str, Any]:
    """Gives the request its ``content-length`` back, which ext_proc takes off: not every server reads chunks."""
    return {
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": _TYPE + "extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": _MAX_REQUEST_BYTES,
        },
    }


def sidecar_cluster(sidecar: str) -> dict[str, Any]:
    """The cluster of the sidecar at "HOST:PORT" or "unix:PATH"; of several, separated by commas."""
    addresses = [_address(each) for each in sidecar.split(",")]
    return {
        "name": _SIDECAR,
        "type": "STATIC" if all("pipe" in address for address in addresses) else "STRICT_DNS",
        "lb_policy": "LEAST_REQUEST",  # an answer is long: the worker with the fewest open takes the next
        "connect_timeout": "2s",
        "typed_extension_protocol_options": _http_options(
            {"explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": _MAX_STREAMS}}},
        ),
        "circuit_breakers": _circuit_breakers(),
        "load_assignment": _endpoints(_SIDECAR, *addresses),
    }


def upstream_cluster(upstream: Upstream) -> dict[str, Any]:
    """The cluster of the LLM server."""
    cluster: dict[str, Any] = {
        "name": _UPSTREAM,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
        "circuit_breakers": _circuit_breakers(),
        "load_assignment": _endpoints(_UPSTREAM, _socket(upstream.host, upstream.port)),
    }
    if upstream.tls:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": upstream.host,
                "common_tls_context": {
                    "validation_context": {
                        "trusted_ca": {"filename": _trusted_ca()},
                        "match_typed_subject_alt_names": [
                            {"san_type": "DNS", "matcher": {"exact": upstream.host}},
                        ],
                    },
                },
            },
        }
    return cluster


def _trusted_ca() -> str:
    """The system's certificate bundle, or Debian's place for it where this machine has none."""
    found = [
        path for path in (ssl.get_default_verify_paths().cafile, *_CA_FILES) if path and Path(path).is_file()
    ]
    return found[0] if found else _CA_FILES[0]


def filter_fragment(sidecar: str) -> dict[str, Any]:
    """Filters and cluster alone, for an Envoy that is there already."""
    return {"http_filters": [ext_proc_filter(), buffer_filter()], "clusters": [sidecar_cluster(sidecar)]}


def bootstrap(upstream: Upstream, listen: str, sidecar: str, *, admin: bool = False) -> dict[str, Any]:
    """A whole Envoy: one listener, every route guarded, one upstream.

    Args:
        upstream: the LLM server.
        listen: "HOST:PORT" clients connect to.
        sidecar: where our gRPC server listens; several, separated by commas, are balanced between.
        admin: open Envoy's admin interface on a free loopback port, for the command that runs it.
    """
    host, port = parse_listen(listen)
    route: dict[str, Any] = {"cluster": _UPSTREAM, "timeout": "0s", "auto_host_rewrite": True}
    if upstream.path:
        route["prefix_rewrite"] = upstream.path + "/"
    manager = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "guarded",
        "codec_type": "AUTO",
        "stream_idle_timeout": f"{_IDLE_S}s",
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": False,
        "route_config": {
            "name": "all",
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]},
            ],
        },
        "http_filters": [
            ext_proc_filter(),
            buffer_filter(),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": _TYPE + "extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }
    listener = {
        "name": "guarded",
        "address": _socket(host, port),
        "enable_reuse_port": False,  # a second Envoy on the same port must fail at start, not share it
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]},
        ],
    }
    config: dict[str, Any] = {
        "static_resources": {
            "listeners": [listener],
            "clusters": [upstream_cluster(upstream), sidecar_cluster(sidecar)],
        },
    }
    if admin:
        config["admin"] = {"address": _socket("127.0.0.1", 0)}
    return config


def _socket(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _address(sidecar: str) -> dict[str, Any]:
    if sidecar.startswith("unix:"):
        return {"pipe": {"path": sidecar.removeprefix("unix:")}}
    return _socket(*parse_listen(sidecar))


def _endpoints(name: str, *addresses: dict[str, Any]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _circuit_breakers() -> dict[str, Any]:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), _MAX_STREAMS)
    return {"thresholds": [limits]}


def _http_options(options: dict[str, Any]) -> dict[str, Any]:
    kind = "extensions.upstreams.http.v3.HttpProtocolOptions"
    return {f"envoy.{kind}": {"@type": _TYPE + kind, **options}}
