"""Health and reflection of a gRPC server: what probes, load balancers and grpcurl ask.

It is told when the sidecar is warm and when it drains; it knows neither why nor what the services do.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

LIVENESS = "liveness"
READINESS = "readiness"
SCORING = "scoring"
EXTERNAL_PROCESSOR = "envoy.service.ext_proc.v3.ExternalProcessor"
NATIVE = "guardrail.v1.GuardrailService"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthService:
    """``grpc.health.v1`` for one server.

    ``liveness`` says SERVING as long as the process answers: an orchestrator that restarts on it must
    not do so while the model loads or the last streams drain. ``scoring`` says whether text can be scored
    just now. Everything else ("" for the server as a whole, ``readiness`` and each service) says SERVING
    between ``warmed_up`` and ``drain`` only, also while an engine in another process is away: streams are
    then served as the policy's failure stance says, where a probe that failed would take every sidecar of
    that engine out of service at once (invariant 6).

    Args:
        services: full names of the gRPC services whose health is asked for by name.
    """

    def __init__(self, services: Sequence[str] = (NATIVE, EXTERNAL_PROCESSOR)) -> None:
        self._ready_names = ("", READINESS, *services)
        self._servicer = health.aio.HealthServicer()
        self._draining = False

    async def attach(self, server: grpc.aio.Server) -> None:
        """Register with ``server``, which has not started yet; says NOT_SERVING from the first call on."""
        await self._servicer.set(LIVENESS, _SERVING)
        await self.scoring(possible=False)
        await self._report(_NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def warmed_up(self) -> None:
        """The sidecar takes work from now on, unless it is draining already."""
        if not self._draining:
            await self.scoring(possible=True)
            await self._report(_SERVING)

    async def scoring(self, *, possible: bool) -> None:
        """Whether text can be scored; it cannot while an engine in another process is away."""
        await self._servicer.set(SCORING, _SERVING if possible else _NOT_SERVING)

    async def drain(self) -> None:
        """The sidecar takes no new work, for good; those who watch are told at once."""
        self._draining = True
        await self._report(_NOT_SERVING)

    async def _report(self, status: int) -> None:
        for name in self._ready_names:
            await self._servicer.set(name, status)


def enable_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Let tools list and describe ``services`` (full names) along with health and reflection itself.

    Their generated modules must have been imported: reflection answers from what is loaded.
    """
    names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
