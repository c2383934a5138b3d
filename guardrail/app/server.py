"""The gRPC sidecar: guardrail.v1, ext_proc, health and reflection on one listener."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import grpc

from guardrail.app.wiring import Sidecar
from guardrail.errors import ConfigError
from guardrail.transports.engine_remote import RemoteScorer
from guardrail.transports.ext_proc import ExtProcServicer
from guardrail.transports.grpc_native import GuardrailServicer
from guardrail.transports.health import EXTERNAL_PROCESSOR, NATIVE, HealthService, enable_reflection
from guardrail.transports.tasks import spawn

_OPTIONS = (
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


@dataclass(slots=True)
class SidecarServer:
    """A running sidecar."""

    server: grpc.aio.Server
    health: HealthService
    address: str
    """"HOST:PORT" or "unix:PATH", with the port in fact bound."""

    async def stop(self, grace_s: float) -> None:
        """Take no new streams, let those under way finish for ``grace_s`` seconds, then cut them."""
        await self.health.drain()
        await self.server.stop(grace_s)

    async def wait(self) -> None:
        """Until the server has stopped."""
        await self.server.wait_for_termination()


async def start_server(sidecar: Sidecar, listen: str, *, share_port: bool = False) -> SidecarServer:
    """Serve on ``listen``: "HOST:PORT" (port 0 takes a free one) or "unix:PATH".

    Args:
        sidecar: what to serve with.
        listen: where.
        share_port: let other processes listen on the same port.

    Raises:
        ConfigError: the address is not one, or cannot be bound.
    """
    # Unless told to share it, a second sidecar on the same port must fail at start.
    server = grpc.aio.server(options=(*_OPTIONS, ("grpc.so_reuseport", int(share_port))))
    GuardrailServicer(sidecar.services).attach(server)
    ExtProcServicer(sidecar.services).attach(server)
    health = HealthService()
    await health.attach(server)
    enable_reflection(server, (NATIVE, EXTERNAL_PROCESSOR))
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise ConfigError("--listen", "", f"cannot bind {listen}: {error}") from error
    await server.start()
    await health.warmed_up()
    remote = sidecar.scorer
    if isinstance(remote, RemoteScorer):
        remote.on_change = lambda: _tell(health, remote)
        _tell(health, remote)  # it may have been lost meanwhile
    # What is loaded by now stays: the collector need not look through it again at every stream's garbage.
    gc.collect()
    gc.freeze()
    address = listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"
    return SidecarServer(server, health, address)


def _tell(health: HealthService, remote: RemoteScorer) -> None:
    spawn(health.scoring(possible=remote.session is not None), name="health of the engine")
