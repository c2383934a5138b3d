"""The one thread that owns the network.

Coroutines of any event loop submit jobs; the thread puts them into steps with a ``Batcher``, has the
steps computed and wakes the waiting. The queue is bounded (invariant 10): who comes too much is told so
at the door. A step that fails fails the jobs in it and nothing else; jobs whose caller is gone are
dropped before their next step. What a step computes is its family's business (``causal_step``,
``window_step``): this file knows how much a job costs, and neither arrays nor text.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from guardrail.engine.batcher import Batcher, BatchLimits, Slice
from guardrail.engine.job import Job, finish
from guardrail.engine.load import Backlog, LoadMeter
from guardrail.errors import OverloadedError, ScoringError

J = TypeVar("J", bound=Job[Any])

_log = logging.getLogger(__name__)


class Step(Protocol[J]):
    """What a family computes in one go."""

    def compute(self, slices: Sequence[Slice[J]]) -> Sequence[bool]:
        """Feed the slices, one row each; which of their jobs are complete now. Blocks."""
        ...


@dataclass(slots=True)
class RunnerCounts:
    """What a runner did since it started; written by its thread, to be read by anyone."""

    steps: int = 0
    failed_steps: int = 0
    tokens: int = 0
    """Tokens fed."""
    padded_tokens: int = 0
    """Places that attention computed: rows times longest row."""
    jobs_done: int = 0
    jobs_dropped: int = 0
    """Cancelled while they waited."""
    jobs_refused: int = 0
    """Turned away because the queue was full or its wait too long."""
    step_s: float = 0.0
    """Seconds spent in steps, in all."""


class Runner(Generic[J]):
    """The thread, its queue and its batcher.

    Args:
        step: computes steps; used by this thread alone.
        limits: what a step may cost.
        max_queued_tokens: bound of the queue. Jobs are refused when they would pass it, unless nothing
            else is queued: a long prompt must be possible on an idle engine. ``load`` says what counts.
        max_wait_s: jobs are refused while what is queued takes longer than this; ``load`` has the rules.
    """

    def __init__(
        self,
        step: Step[J],
        *,
        limits: BatchLimits | None = None,
        max_queued_tokens: int = 65_536,
        max_wait_s: float = inf,
    ) -> None:
        limits = limits or BatchLimits()
        self._step = step
        self._batcher: Batcher[J] = Batcher(limits)
        self._step_tokens = limits.max_batch_tokens
        self._max_queued_tokens = max_queued_tokens
        self._backlog = Backlog(limits.max_batch_tokens, max_queued_tokens)
        self._load = LoadMeter(max_wait_s, limits.max_batch_tokens)
        self._said_overloaded = False
        self._wake = threading.Condition()
        self._arrivals: list[J] = []
        self._at_the_door: dict[asyncio.AbstractEventLoop, list[J]] = {}
        self._accepted: set[J] = set()
        self._closing = False
        self.counts = RunnerCounts()
        """What it did so far."""
        self.recent_step_s: deque[float] = deque(maxlen=1024)
        """Durations of the last steps, in seconds."""
        self.on_step: Callable[[float, int], None] | None = None
        """Told of each step, on the runner's thread: its seconds and the tokens it fed."""
        self._thread = threading.Thread(target=self._work, name="guardrail-engine", daemon=True)
        self._thread.start()

    @property
    def queued_tokens(self) -> int:
        """Tokens accepted and not yet fed."""
        return self._backlog.tokens

    @property
    def wait_s(self) -> float:
        """How long a newcomer would wait now, in seconds, by the rate measured last."""
        return self._load.wait_s(self._backlog.ahead)

    @property
    def overloaded(self) -> bool:
        """Whether jobs were refused because the wait was too long, now or a short while ago."""
        return self._load.overloaded(time.monotonic())

    def submit(self, *jobs: J, admitted: bool = False, begins: bool = False, waited_s: float = 0.0) -> None:
        """Queue ``jobs``, all or none, from the event loop on which they were made.

        What a loop submits in one of its turns reaches the thread together: streams that got their scores
        from one step, and go on, share the next one, rather than the first of them getting a step alone.

        Args:
            jobs: what is to be fed.
            admitted: they continue work that was let in before and whose earlier jobs are done; they take
                their place in the queue, and turning them away would throw that work away.
            begins: nothing of their conversation was let in before: what runs goes first.
            waited_s: how long ago they, or what they continue, were refused first.

        Raises:
            OverloadedError: the queue is full, or takes too long.
            ScoringError: the runner is closed.
        """
        tokens = sum(job.tokens_left for job in jobs)
        with self._wake:
            if self._closing:
                raise ScoringError("the engine is closed")
            if not admitted and (reason := self._obstacle(tokens, begins=begins, waited_s=waited_s)):
                self.counts.jobs_refused += len(jobs)
                raise OverloadedError(reason)
            for job in jobs:
                self._backlog.add(job.lane, job.tokens_left)
            self._accepted.update(jobs)
            for loop in [each for each in self._at_the_door if each.is_closed()]:
                self._arrivals += self._at_the_door.pop(loop)  # its turn never came; what is queued must go
            for job in jobs:
                if job.loop not in self._at_the_door:
                    self._at_the_door[job.loop] = []
                    job.loop.call_soon(self._let_in, job.loop)
                self._at_the_door[job.loop].append(job)

    def _obstacle(self, tokens: int, *, begins: bool, waited_s: float) -> str:
        """Why a call of so many tokens cannot be taken now; "" if it can."""
        backlog = self._backlog
        if not backlog.tokens:
            return ""
        queued = backlog.counted if tokens > self._step_tokens else backlog.ahead
        if queued + tokens > self._max_queued_tokens:
            return f"{queued} tokens are queued, {tokens} more would pass {self._max_queued_tokens}"
        if self._load.refuses(backlog.ahead, time.monotonic(), begins=begins, waited_s=waited_s):
            return f"what is queued takes {self._load.wait_s(backlog.ahead):.2f} s, which is too long"
        return ""

    def _let_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the thread what one turn of ``loop`` submitted; it may have been closed meanwhile."""
        with self._wake:
            self._arrivals += self._at_the_door.pop(loop, ())
            self._wake.notify()

    def close(self) -> None:
        """Refuse new work, finish what is queued, end the thread; idempotent, blocks."""
        with self._wake:
            self._closing = True
            for jobs in self._at_the_door.values():
                self._arrivals += jobs
            self._at_the_door.clear()
            self._wake.notify()
        self._thread.join()

    # What follows runs on the thread.

    def _work(self) -> None:
        try:
            self._serve()
        except BaseException:
            # A bug of ours. Nobody may wait for a thread that is gone.
            with self._wake:
                self._closing = True
            for job in self._accepted:
                job.fail(ScoringError("the engine's thread ended unexpectedly"))
            raise

    def _serve(self) -> None:
        batcher = self._batcher
        while True:
            with self._wake:
                while batcher.is_empty() and not self._arrivals:
                    if self._closing:
                        return
                    self._wake.wait()
                arrivals, self._arrivals = self._arrivals, []
            now = time.monotonic()
            for job in arrivals:
                batcher.push(job, now)
            batch = batcher.pop_batch(now)
            self.counts.jobs_dropped += len(batch.dropped)
            self._forget(batch.dropped, [(job.lane, job.tokens_left) for job in batch.dropped])
            if batch.slices:
                self._advance(batch.slices)

    def _advance(self, slices: Sequence[Slice[J]]) -> None:
        started_s = time.monotonic()
        left_before = [(each.work.lane, each.work.tokens_left) for each in slices]
        try:
            finished = self._step.compute(slices)
        except Exception as error:  # noqa: BLE001 - whatever it was, only this step's lanes pay
            self.counts.failed_steps += 1
            self._forget([each.work for each in slices], left_before)
            for each in slices:
                each.work.fail(ScoringError(f"the network failed: {type(error).__name__}: {error}"))
            return
        ended_s = time.monotonic()
        done = [each.work for each, last in zip(slices, finished, strict=True) if last]
        tokens, step_s = sum(each.tokens for each in slices), ended_s - started_s
        self._load.stepped(tokens, step_s)
        self._forget(done, [(each.work.lane, each.tokens) for each in slices])
        self.counts.steps += 1
        self.counts.tokens += tokens
        self.counts.padded_tokens += len(slices) * max(each.tokens for each in slices)
        self.counts.step_s += step_s
        self.recent_step_s.append(step_s)
        if self.on_step is not None:
            self.on_step(step_s, tokens)
        self._say_overload()
        self.counts.jobs_done += len(done)
        finish(done)
        for each, last in zip(slices, finished, strict=True):
            if not last:
                self._batcher.push(each.work, ended_s)

    def _say_overload(self) -> None:
        """One line in the log when it begins, and one when it is over."""
        overloaded = self.overloaded
        if overloaded == self._said_overloaded:
            return
        self._said_overloaded = overloaded
        rate = self._load.tokens_per_s
        if overloaded:
            _log.warning(
                "the engine is overloaded: %d tokens wait at %.0f a second", self.queued_tokens, rate
            )
        else:
            _log.warning("the engine has caught up, at %.0f tokens a second", rate)

    def _forget(self, jobs: Iterable[J], tokens: Iterable[tuple[Hashable, int]]) -> None:
        """Take each lane's ``tokens`` off the queue, and jobs that are over one way or another."""
        with self._wake:
            for lane, count in tokens:
                self._backlog.add(lane, -count)
            self._accepted.difference_update(jobs)
