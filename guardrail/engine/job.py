"""A piece of work between the event loop that waits for it and the thread that computes it.

What is fed and what comes of it is a family's business (``causal_step``, ``window_step``).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

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
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[R] = self._loop.create_future()
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

    # What follows is called on the runner's thread.

    def finish(self) -> None:
        """Hand the result to whoever waits."""
        self._post(self.result(), None)

    def fail(self, error: Exception) -> None:
        """Hand an error to whoever waits."""
        self._post(None, error)

    def _post(self, result: R | None, error: Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            self.cancelled = True  # its loop is closed: nobody waits

    def _settle(self, result: R | None, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        elif result is not None:
            self.future.set_result(result)


async def results(jobs: Sequence[Job[R]]) -> list[R]:
    """Wait for submitted jobs, all of one call; cancels them if cancelled, or if one of them fails."""
    try:
        return await asyncio.gather(*(job.future for job in jobs))
    finally:
        for job in jobs:
            job.cancelled = True  # done, or nobody waits
