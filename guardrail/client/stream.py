"""One guarded stream as the application holds it: send what the model says, read what the user may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import grpc

from guardrail._pb import guardrail_pb2 as pb
from guardrail.client import requests
from guardrail.client.events import Event, LaneClosed, Opened, StopUpstream, Summary, event
from guardrail.client.failures import UnavailableError, failure
from guardrail.errors import GuardrailError, ProtocolError

_PARTING_S = 1.0
_SETTLE_ROUNDS, _SETTLE_S = 20, 0.005
_WRITE_FAILED = "Internal error from Core"  # gRPC's words


class GuardStream:
    """A guarded stream; made by ``GuardClient.guard``, opened and freed by ``async with``.

    Send and read in different tasks: the sidecar holds back a bounded amount of text, so sending waits
    once nobody reads. ``GuardClient.guard_text`` does this for the common case.

    Leaving the block frees the stream at once, finished or not.
    """

    opened: Opened
    """What is in force; known inside the block."""
    summary: Summary | None
    """The stream's account, once it was read."""

    def __init__(self, call: Callable[[], Any], opening: pb.GuardRequest, *, open_timeout_s: float) -> None:
        self._start_call, self._opening, self._open_timeout_s = call, opening, open_timeout_s
        self._call: Any = None
        self._closed_lanes: set[str] = set()
        self._responses: Any = None
        self._status: tuple[grpc.StatusCode, str] | None = None
        self._writing = asyncio.Lock()
        self._stopped = self._left = False
        self.summary = None

    async def __aenter__(self) -> Self:
        self._call = self._start_call()
        # Not call.read(): that one forgets what has arrived once the call is over.
        self._responses = aiter(self._call)
        self._call.add_done_callback(self._note_status)
        try:
            async with asyncio.timeout(self._open_timeout_s):
                await self._write(self._opening)
                first = await self._read()
        except TimeoutError as error:
            self.cancel()
            raise UnavailableError(f"no answer within {self._open_timeout_s:g} s") from error
        except BaseException:
            self.cancel()
            raise
        if not isinstance(first, Opened):
            self.cancel()
            raise ProtocolError("the sidecar did not open the stream")
        self.opened = first
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            over = self._writing.locked() or self._call.cancelled()
            if self.summary is not None and kind is None and not over:
                await self._part()
        finally:
            self.cancel()

    @property
    def stopped(self) -> bool:
        """Whether the sidecar needs no more text: stop the model and free what it uses."""
        return self._stopped

    async def send(self, text: str, *, lane: str = "") -> bool:
        """Hand over what the model just said; may wait until the sidecar has room.

        Returns:
            False when the text was dropped, because the lane or the stream is over. Why, the reading
            side learns: from an event, or from the error it raises.
        """
        for chunk in requests.chunks(text, lane):
            if lane in self._closed_lanes or not await self._write(chunk):
                return False
        return True

    async def end_lane(self, lane: str = "") -> None:
        """The model finished ``lane``."""
        if lane not in self._closed_lanes:
            await self._write(requests.lane_end(lane))

    async def end(self) -> None:
        """The model finished: what is held back is judged and released, then the events end."""
        await self._write(requests.end())

    def cancel(self) -> None:
        """Free the stream at once, from any task; a task that is reading gets ``UnavailableError``."""
        self._left = self._stopped = True
        if self._call is not None:
            # Cancelling a call that is over changes nothing; one that is not, the sidecar is told at once.
            self._call.cancel()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        found = await self._read()
        if found is None:
            raise StopAsyncIteration
        return found

    async def _write(self, message: pb.GuardRequest) -> bool:
        # gRPC takes one message at a time, and the tasks of several lanes may all be sending.
        async with self._writing:
            if self._stopped:
                return False
            try:
                await self._call.write(message)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The call is over. What gRPC says here is not why: that is on the reading side.
                self._stopped = True
        return not self._stopped

    async def _read(self) -> Event | None:
        """The next event; None once there are no more."""
        while not self._left and self.summary is None:
            try:
                response = await anext(self._responses, None)
            except grpc.aio.AioRpcError as error:
                failed = await self._failure()
                self.cancel()
                raise failed from error
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # Nobody cancelled us: the call was, under our hands.
                self.cancel()
                raise UnavailableError("the stream was cancelled") from error
            if response is None:
                self.cancel()
                raise ProtocolError("the sidecar ended the stream without a summary")
            found = event(response)
            if found is not None:
                self._note(found)
                return found
        return None

    async def _failure(self) -> GuardrailError:
        """Why the call failed."""
        for _ in range(_SETTLE_ROUNDS):
            if self._status is not None:
                return failure(*self._status)
            await asyncio.sleep(_SETTLE_S)
            self._note_status(self._call)
        return failure(await self._call.code(), await self._call.details())

    def _note_status(self, call: Any) -> None:
        """Keep the sidecar's status: a write that meets the end of its call puts its own in that place."""
        code, details = _at_once(call.code()), _at_once(call.details())
        if details != _WRITE_FAILED:
            self._status = code, details

    async def _part(self) -> None:
        """Say that we are done too, so that the sidecar ends the call, and not we."""
        try:
            async with asyncio.timeout(_PARTING_S):
                await self._call.done_writing()
                await anext(self._responses, None)
        except (TimeoutError, grpc.aio.AioRpcError):
            pass  # everything was said before

    def _note(self, found: Event) -> None:
        match found:
            case LaneClosed(lane=lane):
                self._closed_lanes.add(lane)
            case StopUpstream():
                self._stopped = True
            case Summary():
                self._stopped, self.summary = True, found
            case _:
                pass


def _at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that has nothing to wait for: the call it asks is over."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value
    answer.close()
    raise AssertionError("the call is not over")
