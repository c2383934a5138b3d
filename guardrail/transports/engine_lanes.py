"""The lanes of one client of an engine: operations in, results out.

Operations of a lane are carried out in their order, one at a time, on the lane of a ``Scorer``; those of
different lanes do not wait for each other, so whatever gathers here reaches the scorer's batcher at once.
It knows neither messages nor connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.scorer import LaneScorer, Scorer
from guardrail.errors import OverloadedError, ProtocolError, ScoringError
from guardrail.transports.engine_messages import (
    BeginTurn,
    Cancel,
    Close,
    Extend,
    Failed,
    Fork,
    Open,
    Operation,
    Result,
    Scored,
)
from guardrail.transports.tasks import log_defect, spawn

_TOO_LATE = "a call was cancelled that had been scored already; the lane cannot go back before it"


@dataclass(slots=True)
class _Lane:
    """A lane and what it still has to do."""

    number: int
    scorer: LaneScorer | None = None
    """None: a fork whose source has still something to do before it, or that could not be made."""
    ready: bool = False
    waiting: deque[Operation] = field(default_factory=deque)
    running: Extend | None = None
    task: asyncio.Task[Sequence[TokenScore]] | None = None
    given_up: bool = False
    """Whether the running call was cancelled; it may be done all the same."""
    broken: str = ""
    """Why no call can succeed any more."""
    closing: bool = False


class ClientLanes:
    """What one client has open.

    Args:
        scorer: what scores.
        max_lanes: lanes that may be open; one more breaks the protocol.
        max_calls: extends that may be under way; one more is refused as overload.
    """

    def __init__(self, scorer: Scorer, *, max_lanes: int, max_calls: int) -> None:
        self._scorer = scorer
        self._max_lanes, self._max_calls = max_lanes, max_calls
        self._lanes: dict[int, _Lane] = {}
        self._open = 0
        """Lanes, less those that are only waiting to be closed: the client counts them no longer."""
        self._calls = 0
        self._results: list[Result] = []
        self._finished = asyncio.Event()

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def results_waiting(self) -> int:
        """Results that nobody has taken."""
        return len(self._results)

    def apply(self, operation: Operation) -> None:
        """Carry ``operation`` out, as soon as its lane has done what came before.

        Raises:
            ProtocolError: it names a lane that is not there, or opens one that is; or too many are open.
        """
        match operation:
            case Open(lane=number):
                self._admit(_Lane(number, self._scorer.open(), ready=True))
            case Fork(lane=number, source=source):
                parent = self._lane(source)
                self._admit(_Lane(number))
                self._enqueue(parent, operation)
            case BeginTurn(lane=number):
                self._enqueue(self._lane(number), operation)
            case Extend(lane=number):
                self._extend(self._lane(number), operation)
            case Cancel(lane=number):
                self._cancel(self._lane(number), operation)
            case Close(lane=number):
                self._close(self._lane(number), operation)
            case _:
                assert_never(operation)

    async def results(self) -> list[Result]:
        """Wait until something is finished, and take all that is."""
        await self._finished.wait()
        self._finished.clear()
        taken, self._results = self._results, []
        return taken

    def close(self) -> None:
        """The client left: free everything, queued work included."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        for lane in lanes:
            lane.waiting.clear()
            if lane.task is not None:
                lane.task.cancel()
            if lane.scorer is not None:
                lane.scorer.close()

    # -- one lane ----------------------------------------------------------------------------------------

    def _admit(self, lane: _Lane) -> None:
        if lane.number in self._lanes:
            raise ProtocolError(f"lane {lane.number} is open already")
        if self._open >= self._max_lanes:
            raise ProtocolError(f"more than {self._max_lanes} lanes are open")
        self._open += 1
        self._lanes[lane.number] = lane

    def _lane(self, number: int) -> _Lane:
        lane = self._lanes.get(number)
        if lane is None or lane.closing:
            raise ProtocolError(f"lane {number} is not open")
        return lane

    def _extend(self, lane: _Lane, operation: Extend) -> None:
        if self._calls >= self._max_calls:
            reason = f"{self._calls} calls of this client are under way"
            self._finish(Failed(operation.call, reason, overloaded=True))
            return
        self._calls += 1
        self._enqueue(lane, operation)

    def _cancel(self, lane: _Lane, operation: Cancel) -> None:
        if lane.running is not None and lane.running.call == operation.call:
            assert lane.task is not None
            lane.given_up = True
            lane.task.cancel()
            return
        for waiting in lane.waiting:
            if isinstance(waiting, Extend) and waiting.call == operation.call:
                lane.waiting.remove(waiting)
                self._calls -= 1
                return
        if not operation.tentative:
            lane.broken = _TOO_LATE

    def _close(self, lane: _Lane, operation: Close) -> None:
        # After its forks, which may still wait for a call that is being cancelled.
        lane.closing = True
        self._open -= 1
        kept = [waiting for waiting in lane.waiting if not isinstance(waiting, Extend)]
        self._calls -= len(lane.waiting) - len(kept)
        lane.waiting = deque(kept)
        if lane.task is not None:
            lane.task.cancel()
        self._enqueue(lane, operation)

    def _enqueue(self, lane: _Lane, operation: Operation) -> None:
        # Our own clients wait for a call before they go on; only one that was cancelled may be in the way.
        if len(lane.waiting) > self._max_calls:
            raise ProtocolError(f"more than {self._max_calls} operations wait for lane {lane.number}")
        lane.waiting.append(operation)
        self._drain(lane)

    def _drain(self, lane: _Lane) -> None:
        """Do what waits, up to the next thing that takes time."""
        while lane.waiting and lane.ready and lane.task is None:
            match lane.waiting.popleft():
                case Extend() as extend:
                    self._start(lane, extend)
                case BeginTurn(role=role):
                    self._begin_turn(lane, role)
                case Fork(lane=number):
                    self._fork(lane, self._lanes[number])
                case Close():
                    del self._lanes[lane.number]
                    if lane.scorer is not None:
                        lane.scorer.close()

    def _start(self, lane: _Lane, extend: Extend) -> None:
        if lane.broken or lane.scorer is None:
            self._calls -= 1
            self._finish(Failed(extend.call, lane.broken))
            return
        lane.running = extend
        lane.task = spawn(_score(lane.scorer, extend), name=f"call {extend.call}", awaited=True)
        lane.task.add_done_callback(partial(self._done, lane, extend))

    def _done(self, lane: _Lane, extend: Extend, task: asyncio.Task[Sequence[TokenScore]]) -> None:
        given_up, lane.given_up = lane.given_up, False
        lane.running = lane.task = None
        self._calls -= 1
        # Nobody waits for what was cancelled, or for anything once the client has left.
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._finish(_failed(extend.call, error))
            else:
                self._finish(Scored(extend.call, task.result()))
                if given_up and not extend.tentative:
                    lane.broken = _TOO_LATE
        self._drain(lane)

    def _begin_turn(self, lane: _Lane, role: Role) -> None:
        try:
            if lane.scorer is not None:
                lane.scorer.begin_turn(role)
        except Exception as error:  # noqa: BLE001 - only this lane pays
            lane.broken = lane.broken or _failed(0, error).message

    def _fork(self, lane: _Lane, child: _Lane) -> None:
        child.ready, child.broken = True, lane.broken
        try:
            child.scorer = lane.scorer.fork() if lane.scorer is not None else None
        except Exception as error:  # noqa: BLE001 - only this lane pays
            child.broken = child.broken or _failed(0, error).message
        self._drain(child)

    def _finish(self, result: Result) -> None:
        self._results.append(result)
        self._finished.set()


async def _score(scorer: LaneScorer, extend: Extend) -> Sequence[TokenScore]:
    return await scorer.extend(extend.text, tentative=extend.tentative, scored=extend.scored)


def _failed(call: int, error: BaseException) -> Failed:
    """What the client is told; only errors that hold no text by contract are quoted."""
    if isinstance(error, ScoringError):
        return Failed(call, str(error), overloaded=isinstance(error, OverloadedError))
    log_defect("a lane", error)
    return Failed(call, f"the engine failed: {type(error).__name__}")
