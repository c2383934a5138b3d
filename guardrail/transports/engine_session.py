"""One connection to an engine, from the handshake to its loss: the sidecar's side of ``guardrail.engine.v1``.

Operations that gather while a message is on its way go into the next. A session is never repaired: when the
connection is lost everything under way fails, the lanes it had are gone, and another session takes its place
(``engine_remote``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from guardrail import __version__
from guardrail._pb import engine_pb2 as pb
from guardrail._pb import engine_pb2_grpc as pb_grpc
from guardrail.core.verdicts import TokenScore
from guardrail.engine.identity import Engine
from guardrail.errors import OverloadedError, ProtocolError, ScoringError
from guardrail.transports import engine_messages as messages
from guardrail.transports.engine_messages import Cancel, Close, Extend, Failed, Fork, Open, Operation, Result
from guardrail.transports.tasks import spawn

_Scores: TypeAlias = "asyncio.Future[Sequence[TokenScore]]"

HANDSHAKE_DEADLINE_S = 5.0
_WRITE_DEADLINE_S = 30.0
"""For the engine to make room for one message; it reads as long as its results are read."""
_MAX_OUTGOING = 65_536
"""Operations that may wait for that; more than all lanes and calls of one client give rise to at once."""

_OPTIONS = (
    ("grpc.max_receive_message_length", messages.MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", messages.MAX_MESSAGE_BYTES),
    # A channel an attempt: gRPC's own memory of failed attempts would add its backoff to ours.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class EngineUnreachableError(ScoringError):
    """There is no session: the engine is away, or is not the one that is wanted.

    Args:
        reason: one word for records.
        says: what happened, for people.
    """

    def __init__(self, reason: str, says: str) -> None:
        self.reason = reason
        super().__init__(says)


@dataclass(slots=True)
class SessionCounts:
    """What went over the wire."""

    requests: int = 0
    operations: int = 0


class EngineSession:
    """A connection that stands. Made by ``connect``."""

    def __init__(self, channel: grpc.aio.Channel, call: Any, welcome: pb.Welcome) -> None:
        self._channel, self._call = channel, call
        self.engine: Engine = messages.engine(welcome)
        """What is at the other end."""
        self._max_lanes, self._max_calls = welcome.max_lanes, welcome.max_calls
        self._reader = messages.ResultReader(self.engine.categories)
        self._waiting: dict[int, tuple[int, _Scores]] = {}
        """Call to its lane and whoever waits."""
        self._last_lane = self._last_call = 0
        self._lanes: set[int] = set()
        self._outgoing: list[Operation] = []
        self._asked = asyncio.Event()
        self.lost = ""
        """Why it is over; empty while it stands."""
        self.counts = SessionCounts()
        """What it did so far."""
        self._tasks = (
            spawn(self._write(), name="operations for the engine", awaited=True),
            spawn(self._read(), name="results of the engine", awaited=True),
        )

    def send(self, operation: Operation) -> None:
        """Hand an operation to the engine, after those before; forgotten if the connection is lost."""
        if not self.lost:
            self._outgoing.append(operation)
            self._asked.set()

    async def extend(self, lane: int, text: str, *, tentative: bool, scored: bool) -> Sequence[TokenScore]:
        """Have the engine score ``text``.

        Raises:
            OverloadedError: too much is under way.
            ScoringError: the lane failed, or the connection was lost.
        """
        if self.lost:
            raise ScoringError(self.lost)
        if len(self._waiting) >= self._max_calls:
            raise OverloadedError(f"{len(self._waiting)} calls to the engine are under way")
        if len(self._outgoing) >= _MAX_OUTGOING:
            raise OverloadedError(f"{len(self._outgoing)} operations wait for the engine to read")
        self._last_call += 1
        call = self._last_call
        future: _Scores = asyncio.get_running_loop().create_future()
        self._waiting[call] = (lane, future)
        self.send(Extend(lane, call, text, tentative=tentative, scored=scored))
        try:
            return await future
        except asyncio.CancelledError:
            if lane in self._lanes:  # closing it gave the call up as well
                self.send(Cancel(lane, call, tentative=tentative))
            raise
        finally:
            del self._waiting[call]

    def open_lane(self, source: int | None = None) -> int:
        """Open a lane, empty or as a copy of ``source``; its number.

        Raises:
            OverloadedError: as many are open as the engine allows one client.
        """
        if len(self._lanes) >= self._max_lanes:
            raise OverloadedError(f"{len(self._lanes)} lanes are open on the engine")
        if len(self._outgoing) >= _MAX_OUTGOING:
            raise OverloadedError(f"{len(self._outgoing)} operations wait for the engine to read")
        self._last_lane += 1
        lane = self._last_lane
        self._lanes.add(lane)
        self.send(Open(lane) if source is None else Fork(lane, source))
        return lane

    def close_lane(self, lane: int) -> None:
        """Close a lane; whoever waits for its scores gets a ``ScoringError``."""
        _fail([future for of, future in self._waiting.values() if of == lane], "the lane was closed")
        self._lanes.discard(lane)
        self.send(Close(lane))

    async def ended(self) -> EngineUnreachableError:
        """Wait until the connection is lost; why it was. Everything under way has failed by then."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        error = _lost(next(iter(done)).exception())
        if self._call.done():  # of two tasks that notice, the first may not know why
            error = await _status(self._call)
        await self.close(str(error))
        return error

    async def close(self, reason: str) -> None:
        """Give the connection up; whoever waits gets a ``ScoringError``."""
        self.lost = self.lost or reason
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _fail([future for _, future in self._waiting.values()], self.lost)
        self._outgoing.clear()
        self._call.cancel()
        await self._channel.close()

    async def _write(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            operations, self._outgoing = self._outgoing, []
            self.counts.operations += len(operations)
            for message in messages.requests(operations):
                self.counts.requests += 1
                async with asyncio.timeout(_WRITE_DEADLINE_S):
                    await self._call.write(message)

    async def _read(self) -> None:
        while (message := await self._call.read()) is not grpc.aio.EOF:
            for result in self._reader.read(message.results):
                self._settle(result)
        raise await _status(self._call)

    def _settle(self, result: Result) -> None:
        _, future = self._waiting.get(result.call, (0, None))
        if future is None or future.done():
            return  # cancelled while its result was on its way
        if not isinstance(result, Failed):
            future.set_result(result.tokens)
            return
        kind = OverloadedError if result.overloaded else ScoringError
        future.set_exception(kind(result.message))


def _fail(futures: Iterable[_Scores], reason: str) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(ScoringError(reason))


async def connect(address: str, credentials: grpc.ChannelCredentials | None = None) -> EngineSession:
    """Connect and shake hands.

    Args:
        address: "HOST:PORT" or "unix:PATH".
        credentials: for TLS; None is plaintext.

    Raises:
        EngineUnreachableError: nobody answers there in time, or somebody we do not understand.
    """
    channel = (
        grpc.aio.insecure_channel(address, options=_OPTIONS)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
    )
    try:
        async with asyncio.timeout(HANDSHAKE_DEADLINE_S):
            call = pb_grpc.EngineServiceStub(channel).Score()
            await call.write(pb.ScoreRequest(hello=pb.Hello(protocol=messages.PROTOCOL, version=__version__)))
            first = await call.read()
            return EngineSession(channel, call, _welcome(first))
    except BaseException as error:
        await channel.close()
        if isinstance(error, Exception):
            raise _lost(error) from error
        raise


def _welcome(first: Any) -> pb.Welcome:
    if first is grpc.aio.EOF or first.WhichOneof("response") != "welcome":
        raise ProtocolError("the engine did not begin with a welcome")
    welcome: pb.Welcome = first.welcome
    return welcome


async def _status(call: Any) -> EngineUnreachableError:
    code = await call.code()
    details = await call.details() or "the engine ended the connection"
    return EngineUnreachableError(code.name.lower(), details)


def _lost(error: BaseException | None) -> EngineUnreachableError:
    match error:
        case EngineUnreachableError():
            return error
        case TimeoutError():
            return EngineUnreachableError("deadline", "the engine did not answer in time")
        case grpc.aio.AioRpcError():
            return EngineUnreachableError(error.code().name.lower(), error.details() or "no reason given")
        case ProtocolError():
            return EngineUnreachableError("protocol", str(error))
        case None:
            return EngineUnreachableError("ended", "the connection ended")
        case _:
            return EngineUnreachableError("error", f"{type(error).__name__}")
