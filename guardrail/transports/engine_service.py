"""``guardrail.engine.v1.EngineService``: one scorer for many sidecar processes.

It keeps the order of messages, the bounds of one client and the deadlines. What gathers while a message is
on its way goes into the next (one message a tick), so nothing here waits for a clock. Text goes into no status
and no log line (invariant 8).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from guardrail._pb import engine_pb2 as pb
from guardrail._pb import engine_pb2_grpc as pb_grpc
from guardrail.engine.identity import Engine
from guardrail.engine.scorer import Scorer
from guardrail.errors import ProtocolError
from guardrail.transports import engine_messages as messages
from guardrail.transports.engine_lanes import ClientLanes
from guardrail.transports.tasks import log_defect, spawn

ENGINE = "guardrail.engine.v1.EngineService"

SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", messages.MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", messages.MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second engine on the same port must fail at start, not share it
    # A client that died without a word is noticed; clients ask as often.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

_log = logging.getLogger(__name__)
_Context: TypeAlias = grpc.aio.ServicerContext


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds of this transport (invariant 10)."""

    max_clients: int = 256
    """Sidecar processes at a time."""
    max_lanes: int = 16_384
    """Lanes one client may have open; a lane of a causal pack may hold megabytes."""
    max_calls: int = 4096
    """Extends one client may have under way, and results it may leave unread."""
    hello_deadline_s: float = 10.0
    """From the start of a call to its ``Hello``."""
    write_deadline_s: float = 30.0
    """For the client to make room for one message."""


@dataclass(slots=True)
class EngineCounts:
    """What went over the wire; the more operations a message, the more lanes shared it."""

    clients: int = 0
    """Now."""
    requests: int = 0
    operations: int = 0
    responses: int = 0
    results: int = 0


class _VersionError(ProtocolError):
    """The client speaks another version."""


class EngineServicer(pb_grpc.EngineServiceServicer):
    """Serves a scorer.

    Args:
        scorer: what scores; used from this event loop alone.
        engine: what it is, for the clients.
        limits: bounds and deadlines.
    """

    def __init__(self, scorer: Scorer, engine: Engine, *, limits: EngineLimits | None = None) -> None:
        self._scorer, self._engine = scorer, engine
        self._limits = limits or EngineLimits()
        self.counts = EngineCounts()
        """What it did so far."""

    def attach(self, server: grpc.aio.Server) -> None:
        """Register with ``server``, which has not started yet."""
        pb_grpc.add_EngineServiceServicer_to_server(self, server)

    async def Score(self, _requests: object, context: _Context) -> None:  # type: ignore[override]  # noqa: N802 - the protocol's name
        """Serve one client; see engine.proto."""
        if self.counts.clients >= self._limits.max_clients:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self.counts.clients} clients are connected"
            )
        self.counts.clients += 1
        limits = self._limits
        lanes = ClientLanes(self._scorer, max_lanes=limits.max_lanes, max_calls=limits.max_calls)
        try:
            refusal = await self._served(context, lanes)
        finally:
            # Before the status, which waits for a client that does not read.
            self.counts.clients -= 1
            _log.info("a client left with %d lanes open", len(lanes))
            lanes.close()
        if refusal is not None:
            await context.abort(*refusal)

    async def _served(self, context: _Context, lanes: ClientLanes) -> tuple[grpc.StatusCode, str] | None:
        """Serve; what the client is told if that ended by an error."""
        try:
            await self._serve(context, lanes)
        except TimeoutError:
            return grpc.StatusCode.DEADLINE_EXCEEDED, "the client was silent, or did not read, for too long"
        except _VersionError as error:
            return grpc.StatusCode.FAILED_PRECONDITION, str(error)
        except ProtocolError as error:
            return grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except Exception as error:  # noqa: BLE001 - every error becomes a status, ours are logged
            log_defect("an engine's client", error)
            return grpc.StatusCode.INTERNAL, "internal error"
        return None

    async def _serve(self, context: _Context, lanes: ClientLanes) -> None:
        async with asyncio.timeout(self._limits.hello_deadline_s):
            first = await context.read()
        if first is grpc.aio.EOF or first.WhichOneof("request") != "hello":
            raise ProtocolError("hello: must come first")
        try:
            messages.check_protocol(first.hello.protocol, "the sidecar")
        except ProtocolError as error:
            raise _VersionError(str(error)) from error
        limits = self._limits
        welcome = messages.welcome(self._engine, max_lanes=limits.max_lanes, max_calls=limits.max_calls)
        await self._write(context, welcome)
        _log.info("a client of version %.40s came", first.hello.version)
        room = asyncio.Event()
        writing = spawn(self._write_results(context, lanes, room), name="results of a client", awaited=True)
        reading = spawn(self._read_operations(context, lanes, room), name="a client", awaited=True)
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, reading):
                task.cancel()
            ends = await asyncio.gather(writing, reading, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _read_operations(self, context: _Context, lanes: ClientLanes, room: asyncio.Event) -> None:
        """Until the client half-closes. It may be silent for hours; keepalive finds out if it is dead."""
        while (message := await context.read()) is not grpc.aio.EOF:
            if message.WhichOneof("request") != "operations":
                raise ProtocolError("request: only operations may follow hello")
            operations = messages.operations(message.operations)
            self.counts.requests += 1
            self.counts.operations += len(operations)
            for operation in operations:
                lanes.apply(operation)
            while lanes.results_waiting > self._limits.max_calls:
                # The writer has a deadline for the client to read, so this ends.
                room.clear()
                await room.wait()

    async def _write_results(self, context: _Context, lanes: ClientLanes, room: asyncio.Event) -> None:
        while True:
            results = await lanes.results()
            room.set()
            self.counts.results += len(results)
            for message in messages.responses(results, self._engine.categories):
                self.counts.responses += 1
                await self._write(context, message)

    async def _write(self, context: _Context, message: pb.ScoreResponse) -> None:
        async with asyncio.timeout(self._limits.write_deadline_s):
            await context.write(message)
