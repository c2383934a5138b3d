"""The one thread that owns the network.

Coroutines of any event loop submit work; the thread puts it into steps with a ``Batcher``, computes
them, keeps each lane's cache and wakes the waiting. The queue is bounded (invariant 10): who comes too
much is told so at the door. A step that fails fails the work in it and nothing else; work whose caller
is gone is dropped before its next step. This file knows token ids and arrays, no text and no roles.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.engine.anchoring import Pass
from guardrail.engine.batcher import Batcher, BatchLimits, Slice
from guardrail.engine.cache import Geometry, KeyValueCache, PastAssembler
from guardrail.engine.session import Network, StepInput
from guardrail.errors import OverloadedError, ScoringError

Logits = NDArray[np.float32]


class ScoringJob:
    """A lane's tokens on their way through the network.

    Args:
        lane: whose they are; identity only.
        passes: what is to be fed, at least one.
        cache: the lane's state before; left as it is.
        tentative: the last tokens need not be remembered.
    """

    def __init__(
        self, lane: Hashable, passes: Sequence[Pass], cache: KeyValueCache, *, tentative: bool
    ) -> None:
        self.lane = lane
        self.cancelled = False
        """Set by the caller's side; read by the runner before each step."""
        self.tokens_left = sum(len(each.ids) for each in passes)
        self.cache = cache.fork()
        """The lane's state after what was fed so far."""
        self._passes = deque(passes)
        self._fed = 0
        self._tentative = tentative
        self._logits: list[Logits] = []
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Logits] = self._loop.create_future()

    @property
    def tokens_ready(self) -> int:
        """Tokens left of the pass that is being fed."""
        return len(self._passes[0].ids) - self._fed

    async def result(self) -> Logits:
        """Logits of the wanted ids, [ids, network heads, categories]; cancels the job if cancelled."""
        try:
            return await self._future
        finally:
            self.cancelled = True  # done, or nobody waits

    def abandon(self, reason: str) -> None:
        """Give up from the caller's side, on its loop: whoever waits gets a ``ScoringError``."""
        self.cancelled = True
        self._settle(None, ScoringError(reason))

    # What follows is called on the runner's thread.

    def next_ids(self, tokens: int) -> tuple[int, ...]:
        """The next ``tokens`` ids; the start of a fresh pass forgets the cache."""
        if self._passes[0].fresh and self._fed == 0:
            self.cache = self.cache.emptied()
        return self._passes[0].ids[self._fed : self._fed + tokens]

    def advance(self, logits: Logits, keys: NDArray[np.float32], values: NDArray[np.float32]) -> bool:
        """Take in what a step gave for the ids handed out last; True when that was the last of it."""
        tokens = logits.shape[0]
        current = self._passes[0]
        unwanted = max(0, current.scored_from - self._fed)
        if unwanted < tokens:
            self._logits.append(logits[unwanted:])
        self._fed += tokens
        self.tokens_left -= tokens
        if not (self._tentative and self.tokens_left == 0):
            self.cache.append(keys, values)
        if self._fed == len(current.ids):
            self._passes.popleft()
            self._fed = 0
        return not self._passes

    def finish(self) -> None:
        """Hand the logits to whoever waits."""
        self._post(np.concatenate(self._logits), None)

    def fail(self, error: Exception) -> None:
        """Hand an error to whoever waits."""
        self._post(None, error)

    def _post(self, logits: Logits | None, error: Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, logits, error)
        except RuntimeError:
            self.cancelled = True  # its loop is closed: nobody waits

    def _settle(self, logits: Logits | None, error: Exception | None) -> None:
        if self._future.done():
            return
        if error is not None:
            self._future.set_exception(error)
        elif logits is not None:
            self._future.set_result(logits)


@dataclass(slots=True)
class RunnerCounts:
    """What a runner did since it started; written by its thread, to be read by anyone."""

    steps: int = 0
    failed_steps: int = 0
    tokens: int = 0
    """Tokens fed."""
    padded_tokens: int = 0
    """Tokens computed: rows times longest row."""
    jobs_done: int = 0
    jobs_dropped: int = 0
    """Cancelled while they waited."""
    jobs_refused: int = 0
    """Turned away because the queue was full."""
    step_s: float = 0.0
    """Seconds spent in steps, in all."""


class Runner:
    """The thread, its queue and its batcher.

    Args:
        network: computes steps; used by this thread alone.
        geometry: its sizes.
        limits: what a step may cost.
        max_queued_tokens: bound of the queue. A job is refused when it would pass it, unless nothing
            else is queued: a long prompt must be possible on an idle engine.
    """

    def __init__(
        self,
        network: Network,
        geometry: Geometry,
        *,
        limits: BatchLimits | None = None,
        max_queued_tokens: int = 65_536,
    ) -> None:
        self._network = network
        self._batcher: Batcher[ScoringJob] = Batcher(limits)
        self._assembler = PastAssembler(geometry)
        self._max_queued_tokens = max_queued_tokens
        self._wake = threading.Condition()
        self._arrivals: list[ScoringJob] = []
        self._accepted: set[ScoringJob] = set()
        self._queued_tokens = 0
        self._closing = False
        self.counts = RunnerCounts()
        """What it did so far."""
        self.recent_step_s: deque[float] = deque(maxlen=1024)
        """Durations of the last steps, in seconds."""
        self._thread = threading.Thread(target=self._work, name="guardrail-engine", daemon=True)
        self._thread.start()

    @property
    def queued_tokens(self) -> int:
        """Tokens accepted and not yet fed."""
        return self._queued_tokens

    async def score(self, job: ScoringJob) -> Logits:
        """Run ``job``; its logits, [wanted ids, network heads, categories].

        Raises:
            OverloadedError: the queue is full; nothing was done.
            ScoringError: a step failed, or the runner is closed.
        """
        self.submit(job)
        return await job.result()

    def submit(self, job: ScoringJob) -> None:
        """Queue ``job``, from any thread.

        Raises:
            OverloadedError: the queue is full.
            ScoringError: the runner is closed.
        """
        with self._wake:
            if self._closing:
                raise ScoringError("the engine is closed")
            if self._queued_tokens and self._queued_tokens + job.tokens_left > self._max_queued_tokens:
                self.counts.jobs_refused += 1
                raise OverloadedError(
                    f"{self._queued_tokens} tokens are queued, {job.tokens_left} more would pass "
                    f"{self._max_queued_tokens}"
                )
            self._queued_tokens += job.tokens_left
            self._arrivals.append(job)
            self._accepted.add(job)
            self._wake.notify()

    def close(self) -> None:
        """Refuse new work, finish what is queued, end the thread; idempotent, blocks."""
        with self._wake:
            self._closing = True
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
            self._forget(batch.dropped, sum(job.tokens_left for job in batch.dropped))
            if batch.slices:
                self._step(batch.slices)

    def _step(self, slices: Sequence[Slice[ScoringJob]]) -> None:
        started_s = time.monotonic()
        left_before = sum(each.work.tokens_left for each in slices)
        try:
            finished = self._compute(slices)
        except Exception as error:  # noqa: BLE001 - whatever it was, only this step's lanes pay
            self.counts.failed_steps += 1
            self._forget([each.work for each in slices], left_before)
            for each in slices:
                each.work.fail(ScoringError(f"the network failed: {type(error).__name__}: {error}"))
            return
        ended_s = time.monotonic()
        done = [each.work for each, last in zip(slices, finished, strict=True) if last]
        self._forget(done, sum(each.tokens for each in slices))
        self.counts.steps += 1
        self.counts.tokens += sum(each.tokens for each in slices)
        self.counts.padded_tokens += len(slices) * max(each.tokens for each in slices)
        self.counts.step_s += ended_s - started_s
        self.recent_step_s.append(ended_s - started_s)
        self.counts.jobs_done += len(done)
        for each, last in zip(slices, finished, strict=True):
            if last:
                each.work.finish()
            else:
                self._batcher.push(each.work, ended_s)

    def _compute(self, slices: Sequence[Slice[ScoringJob]]) -> list[bool]:
        rows, longest = len(slices), max(each.tokens for each in slices)
        input_ids = np.zeros((rows, longest), np.int64)
        position_ids = np.zeros((rows, longest), np.int64)
        past_length = np.zeros(rows, np.int64)
        for row, each in enumerate(slices):
            input_ids[row, : each.tokens] = each.work.next_ids(each.tokens)
            past_length[row] = past = each.work.cache.length
            position_ids[row, : each.tokens] = np.arange(past, past + each.tokens)
        keys, values = self._assembler.assemble([each.work.cache for each in slices])
        output = self._network.run(StepInput(input_ids, position_ids, past_length, keys, values))
        return [
            each.work.advance(
                output.logits[row, : each.tokens],
                output.new_keys[:, row, :, : each.tokens],
                output.new_values[:, row, :, : each.tokens],
            )
            for row, each in enumerate(slices)
        ]

    def _forget(self, jobs: Iterable[ScoringJob], tokens: int) -> None:
        """Take ``tokens`` off the queue, and jobs that are over one way or another."""
        with self._wake:
            self._queued_tokens -= tokens
            self._accepted.difference_update(jobs)
