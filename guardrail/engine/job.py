"""A piece of work between the event loop that waits for it and the thread that computes it.

What is fed and what comes of it is a family's business (``causal_step``, ``window_step``).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from guardrail.errors import ScoringError

R = TypeVar("R")


class Job(ABC, Generic[R]):
    """Tokens on their way through the network, and who waits for what comes of them.

    A family adds what its step needs, and says what the batcher asks: ``tokens_ready``, ``tokens_wanted``.

    Args:
        lane: whose they are; identity only. Two jobs of one lane never share a step.
        tokens: how many there are, context included.
    """

    def __init__(self, lane: Hashable, tokens: int) -> None:
        self.lane = lane
        self.cancelled = False
        """Set by the caller's side; read by the runner before each step."""
        self.tokens_left = tokens
        """Tokens not yet fed."""
        self.loop = asyncio.get_running_loop()
        """Whose caller waits."""
        self.future: asyncio.Future[R] = self.loop.create_future()
        """What the caller waits for, on its own loop."""

    @property
    @abstractmethod
    def tokens_ready(self) -> int:
        """Tokens that could be fed in one step."""

    @property
    @abstractmethod
    def tokens_wanted(self) -> int:
        """Tokens whose scores are waited for: a word's, or a whole prompt's."""

    @abstractmethod
    def result(self) -> R:
        """What came of it, once all is fed."""

    def abandon(self, reason: str) -> None:
        """Give up from the caller's side, on its loop: whoever waits gets a ``ScoringError``."""
        self.cancelled = True
        self._settle(None, ScoringError(reason))

    def fail(self, error: Exception) -> None:
        """Hand an error to whoever waits; called on the runner's thread."""
        _post(self.loop, lambda: self._settle(None, error))

    def _settle(self, result: R | None, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        elif result is not None:
            self.future.set_result(result)


def finish(jobs: Iterable[Job[Any]]) -> None:
    """Hand their results to whoever waits, all of a loop's in one go; called on the runner's thread.

    Those who wait then run in one turn of their loop, and what they submit next is one batch again.
    """
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[Job[Any], Any]]] = defaultdict(list)
    for job in jobs:
        by_loop[job.loop].append((job, job.result()))
    for loop, done in by_loop.items():
        _post(loop, partial(_settle_all, done))


def _settle_all(done: Sequence[tuple[Job[Any], Any]]) -> None:
    for job, result in done:
        job._settle(result, None)  # noqa: SLF001 - one of us


def _post(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # its loop is closed: nobody waits
        loop.call_soon_threadsafe(call)


async def results(jobs: Sequence[Job[R]]) -> list[R]:
    """Wait for submitted jobs, all of one call; cancels them if cancelled, or if one of them fails."""
    try:
        if len(jobs) == 1:
            return [await jobs[0].future]
        return await asyncio.gather(*(job.future for job in jobs))
    finally:
        for job in jobs:
            job.cancelled = True  # done, or nobody waits
