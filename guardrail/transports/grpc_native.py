"""``guardrail.v1.GuardrailService``: our own protocol over the driver.

It keeps the order of messages, the bounds of one stream and the deadlines, and says every error as a
status. What the messages look like is ``grpc_messages``' business; what is scored, held or shown is the
driver's. Text of a conversation goes into no status and no log line (invariant 8).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

import grpc

from guardrail._pb import guardrail_pb2 as pb
from guardrail._pb import guardrail_pb2_grpc as pb_grpc
from guardrail.errors import GuardrailError, InputError, OverloadedError, ProtocolError
from guardrail.transports import grpc_messages as messages
from guardrail.transports.assessment import assess
from guardrail.transports.driver import StreamDriver
from guardrail.transports.outputs import StreamClosed, StreamOpening
from guardrail.transports.services import Services
from guardrail.transports.tasks import log_defect

_Context: TypeAlias = grpc.aio.ServicerContext


@dataclass(frozen=True, slots=True)
class NativeLimits:
    """Bounds of this transport (invariant 10)."""

    max_streams: int = 1024
    """Guarded streams at a time; one more is refused as overload."""
    open_deadline_s: float = 10.0
    """From the start of a call to its ``Open``."""
    idle_deadline_s: float = 600.0
    """Between two messages of the client; a large model may think for minutes before its first token."""
    write_deadline_s: float = 60.0
    """For the client to make room for one message."""
    linger_s: float = 2.0
    """For the client to half-close after its stream ended."""
    score_deadline_s: float = 60.0
    """For one ``Score`` call, whatever the client's own deadline."""


# A call that was cancelled reads as if it was half-closed, until its cancellation arrives right after.
_DEPARTURE_S = 0.02


class _DeadlineError(GuardrailError):
    """The peer was silent, or did not read, for too long."""


# First match wins. Whatever is not listed is our fault and says nothing but INTERNAL.
_STATUS: Sequence[tuple[type[GuardrailError], grpc.StatusCode]] = (
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (_DeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED),
)


class GuardrailServicer(pb_grpc.GuardrailServiceServicer):
    """Serves ``Guard`` and ``Score``.

    Args:
        services: what every stream shares.
        limits: bounds and deadlines.
        open_stream: makes the driver of one stream.
    """

    def __init__(
        self,
        services: Services,
        *,
        limits: NativeLimits | None = None,
        open_stream: Callable[[StreamOpening, Services], StreamDriver] = StreamDriver,
    ) -> None:
        self._services, self._open_stream = services, open_stream
        self._limits = limits or NativeLimits()
        self._streams = 0

    def attach(self, server: grpc.aio.Server) -> None:
        """Register with ``server``, which has not started yet."""
        pb_grpc.add_GuardrailServiceServicer_to_server(self, server)

    async def Guard(self, _requests: object, context: _Context) -> None:  # type: ignore[override]  # noqa: N802 - the protocol's name
        """Guard one answer; see guardrail.proto."""
        if self._streams >= self._limits.max_streams:
            await _abort(context, OverloadedError(f"{self._streams} streams are open"))
        self._streams += 1
        try:
            await self._guard(context)
        except Exception as error:  # noqa: BLE001 - every error becomes a status, ours are logged
            await _abort(context, error)
        finally:
            self._streams -= 1

    async def Score(self, request: pb.ScoreRequest, context: _Context) -> pb.ScoreResponse:  # noqa: N802 - the protocol's name
        """Score one text; see guardrail.proto."""
        try:
            role = messages.scored_role(request)
            conversation = messages.turns("conversation", request.conversation)
            async with _deadline("scoring", self._limits.score_deadline_s):
                assessment = await assess(self._services, request.text, role, conversation)
        except Exception as error:  # noqa: BLE001 - every error becomes a status, ours are logged
            await _abort(context, error)
        return messages.score_response(
            assessment,
            include_tokens=request.include_tokens,
            pack=self._services.scorer.name,
            policy=self._services.policy.name,
        )

    async def _guard(self, context: _Context) -> None:
        request = await self._read(context, self._limits.open_deadline_s)
        if request is None or request.WhichOneof("request") != "open":
            raise ProtocolError("open: must come first")
        opening = messages.stream_opening(request.open, stream_id=secrets.token_hex(8))
        driver = self._open_stream(opening, self._services)
        outcome = "error"
        try:
            _require_policy(request.open.policy, driver.policy_name)
            await driver.start()
            pack = self._services.scorer.name
            await self._write(
                context, messages.opened(opening.stream_id, driver.policy_name, driver.mode, pack)
            )
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read_requests(context, driver))
                await self._write_outputs(context, driver)
                outcome = ""
                # An intervention may end the stream while the client is still sending. Ending the call
                # now would fail its messages; the driver drops them.
                await asyncio.wait([reading], timeout=self._limits.linger_s)
                reading.cancel()
        except asyncio.CancelledError:
            outcome = outcome and "cancelled"
            raise
        except ExceptionGroup as errors:
            if isinstance(_first(errors), _DeadlineError):
                outcome = outcome and "upstream_error"
            raise
        finally:
            if outcome:
                await driver.cancel(outcome)

    async def _read_requests(self, context: _Context, driver: StreamDriver) -> None:
        lanes = _Lanes()
        while (request := await self._read(context, self._limits.idle_deadline_s)) is not None:
            match request.WhichOneof("request"):
                case "chunk":
                    lane = messages.lane_name("chunk.lane", request.chunk.lane)
                    lanes.continued(lane)
                    await driver.chunk(lane, messages.chunk_text(request.chunk))
                case "end_lane":
                    lane = messages.lane_name("end_lane.lane", request.end_lane.lane)
                    lanes.ended(lane)
                    await driver.end_lane(lane)
                case "end":
                    await driver.end()
                    return
                case "open":
                    raise ProtocolError("open: must come once")
                case _:
                    raise ProtocolError("request: carries none of the messages known here")
        await asyncio.sleep(_DEPARTURE_S)
        await driver.end()

    async def _write_outputs(self, context: _Context, driver: StreamDriver) -> None:
        async for output in driver.outputs():
            message = messages.response(output)
            if message is not None:
                await self._write(context, message)
            if isinstance(output, StreamClosed):
                return
        raise RuntimeError("the driver ended without closing its stream")

    async def _read(self, context: _Context, deadline_s: float) -> pb.GuardRequest | None:
        """The client's next message; None once it has half-closed."""
        async with _deadline("the client's next message", deadline_s):
            request = await context.read()
        return None if request is grpc.aio.EOF else request

    async def _write(self, context: _Context, message: pb.GuardResponse) -> None:
        async with _deadline("the client to read", self._limits.write_deadline_s):
            await context.write(message)


@dataclass(slots=True)
class _Lanes:
    """Which lanes a client has opened and ended."""

    _open: dict[str, bool] = field(default_factory=dict)

    def continued(self, lane: str) -> None:
        if not self._open.setdefault(lane, True):
            raise InputError("chunk.lane", "this lane was ended before")
        self._check("chunk.lane")

    def ended(self, lane: str) -> None:
        # A lane may end without a chunk: a tool call without arguments has no text.
        if not self._open.get(lane, True):
            raise InputError("end_lane.lane", "this lane was ended before")
        self._open[lane] = False
        self._check("end_lane.lane")

    def _check(self, where: str) -> None:
        if len(self._open) > messages.MAX_LANES:
            raise InputError(where, f"more than {messages.MAX_LANES} lanes")


def _require_policy(wanted: str, in_force: str) -> None:
    if wanted not in ("", in_force):
        raise InputError("open.policy", f"{in_force!r} is in force here")


@asynccontextmanager
async def _deadline(what: str, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise _DeadlineError(f"waited {seconds:g} s for {what}") from error


def _first(error: BaseException) -> BaseException:
    """The first of what a task group collected; the others are what it led to."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _abort(context: _Context, error: BaseException) -> NoReturn:
    error = _first(error)
    for kind, status in _STATUS:
        if isinstance(error, kind):
            await context.abort(status, str(error))
    log_defect("a native call", error)
    await context.abort(grpc.StatusCode.INTERNAL, "internal error")
    raise AssertionError("abort returned")
