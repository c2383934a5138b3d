"""A sidecar that does as a test tells it: the client meets the protocol, not our server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from guardrail._pb import guardrail_pb2 as pb
from guardrail._pb import guardrail_pb2_grpc as pb_grpc

OPENED = pb.GuardResponse(
    opened=pb.Opened(stream_id="s1", policy="default", mode=pb.MODE_ENFORCE, pack="p 1")
)
SUMMARY = pb.GuardResponse(summary=pb.Summary(outcome=pb.OUTCOME_COMPLETED))


def released(text: str, end: int, lane: str = "") -> pb.GuardResponse:
    return pb.GuardResponse(released=pb.Released(lane=lane, text=text, end=end))


async def echo(sidecar: Sidecar, context: Any) -> None:
    """Release every chunk; end when told to."""
    sidecar.received.append(await context.read())
    await context.write(OPENED)
    end = 0
    while (request := await context.read()) is not grpc.aio.EOF:
        sidecar.received.append(request)
        if request.HasField("end"):
            break
        if request.HasField("chunk"):
            end += len(request.chunk.text)
            await context.write(released(request.chunk.text, end, request.chunk.lane))
    await context.write(SUMMARY)


@dataclass
class Sidecar(pb_grpc.GuardrailServiceServicer):
    """What it does with a stream is ``guard``; what it saw is kept."""

    target: str = ""
    guard: Callable[[Sidecar, Any], Awaitable[None]] = echo
    score: Callable[[pb.ScoreRequest, Any], Awaitable[pb.ScoreResponse]] | None = None
    received: list[pb.GuardRequest] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client left before its stream ended."""
    health: Any = None

    async def Guard(self, _requests, context):  # noqa: N802
        try:
            await self.guard(self, context)
        except asyncio.CancelledError:
            self.gone.set()
            raise

    async def Score(self, request, context):  # noqa: N802
        return await self.score(request, context)

    async def set_serving(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        await self.health.set("readiness", status.SERVING if serving else status.NOT_SERVING)


@contextlib.asynccontextmanager
async def serve(sidecar: Sidecar) -> AsyncIterator[Sidecar]:
    server = grpc.aio.server()
    sidecar.health = health.aio.HealthServicer()
    await sidecar.set_serving(True)
    pb_grpc.add_GuardrailServiceServicer_to_server(sidecar, server)
    health_pb2_grpc.add_HealthServicer_to_server(sidecar.health, server)
    sidecar.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield sidecar
    finally:
        await server.stop(None)


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with serve(Sidecar()) as running:
        yield running


@pytest.fixture
def sidecar_elsewhere() -> Iterator[Sidecar]:
    """The same in a thread of its own, for clients that block."""
    started, holder = threading.Event(), {}

    async def run() -> None:
        async with serve(Sidecar()) as running:
            holder.update(sidecar=running, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            started.set()
            await holder["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(30)
    yield holder["sidecar"]
    holder["loop"].call_soon_threadsafe(holder["stop"].set)
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def answers() -> Any:
    """Ready-made messages, and what a sidecar may do with a stream."""
    return Answers


class Answers:
    opened = OPENED
    summary = SUMMARY
    released = staticmethod(released)
    echo = staticmethod(echo)

    @staticmethod
    def then_stop(
        *responses: pb.GuardResponse, drain: bool = False
    ) -> Callable[[Sidecar, Any], Awaitable[None]]:
        """Open, wait for one chunk, send ``responses`` and end the stream."""

        async def guard(sidecar: Sidecar, context: Any) -> None:
            sidecar.received.append(await context.read())
            await context.write(OPENED)
            sidecar.received.append(await context.read())
            for response in responses:
                await context.write(response)

        return guard

    @staticmethod
    def refuse(code: grpc.StatusCode, details: str) -> Callable[[Sidecar, Any], Awaitable[None]]:
        async def guard(sidecar: Sidecar, context: Any) -> None:
            await context.read()
            await context.abort(code, details)

        return guard
