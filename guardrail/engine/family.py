"""What the families share between a caller's event loop and the runner.

A scorer owns a runner; a lane carries out one ``extend`` after the other, in the order in which they were
made, refuses other calls meanwhile, and changes its state only when a call has succeeded: a refused,
cancelled or tentative call leaves it as it was. How text becomes jobs, and what comes back scores, is a
family's own.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.job import Job, results
from guardrail.engine.manifest import Pack
from guardrail.engine.runner import Runner
from guardrail.engine.scorer import LaneScorer, Scorer
from guardrail.engine.session import Provider
from guardrail.errors import ScoringError

R = TypeVar("R")
J = TypeVar("J", bound=Job[Any])


class PackScorer(Scorer, ABC, Generic[J]):
    """A pack at work; the engine's ``Scorer``.

    Args:
        pack: the classifier.
        runner: the thread behind it; owned from here on.
        provider: where the network runs, for records.
        why_not_cuda: why that is the CPU, for records.
    """

    def __init__(self, pack: Pack, runner: Runner[J], provider: Provider, why_not_cuda: str) -> None:
        self.pack = pack
        """The classifier, with its operating points."""
        self.runner = runner
        """The thread behind it, with its counts."""
        self.provider = provider
        """Where the network runs."""
        self.why_not_cuda = why_not_cuda
        """Why it runs on the CPU; empty where it does not."""

    @property
    def name(self) -> str:
        """Pack name and version, for records."""
        return f"{self.pack.name}/{self.pack.version}"

    @property
    def categories(self) -> Sequence[str]:
        """The categories it scores."""
        return self.pack.categories

    def close(self) -> None:
        """Finish what is queued and end the thread; idempotent, blocks. Lanes are refused from now on."""
        self.runner.close()


class PackLane(LaneScorer, ABC):
    """One conversation; the engine's ``LaneScorer``. Made by a scorer's ``open`` and by ``fork``.

    Used from one event loop.
    """

    def __init__(self) -> None:
        self._role: Role | None = None
        self._jobs: Sequence[Job[Any]] = ()
        self._closed = False
        self._turnstile = asyncio.Lock()
        self._calls = 0
        self._begun = False  # the engine has taken something of this conversation
        self._refused_at: float | None = None  # since when it has had no time for this lane

    def begin_turn(self, role: Role) -> None:
        """Start a new turn; positions of scores count from its first code point.

        Raises:
            RuntimeError: an ``extend`` is under way, to which turn it belongs would be a guess.
            ScoringError: the lane is closed.
        """
        self._check_idle("begin_turn")
        self._begin(role)
        self._role = role

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        """Score ``text``, the continuation of the current turn.

        Args:
            text: must end where a word ends, unless ``tentative`` or the last of its turn.
            tentative: score, but forget: the next call continues where this one began.
            scored: False: context for what is to come; nobody wants its scores, and none come back.

        Returns:
            One entry a token of ``text``, spans in code points of the turn; none for white space and
            for roles that are not judged.

        Raises:
            OverloadedError: refused at the door; nothing was scored, the call may be repeated.
            ScoringError: a step failed, or lane or engine were closed.
            RuntimeError: no turn was begun.
        """
        if self._role is None:
            raise RuntimeError("extend before begin_turn: whose words are these?")
        self._calls += 1
        try:
            async with self._turnstile:
                self._check_open()
                return await self._extend(self._role, text, tentative=tentative, scored=scored)
        finally:
            self._calls -= 1

    def fork(self) -> PackLane:
        """An independent copy, in the same turn, sharing what has been scored so far.

        Raises:
            RuntimeError: an ``extend`` is under way.
            ScoringError: the lane is closed.
        """
        self._check_idle("fork")
        copy = self._copy()
        copy._begun = self._begun  # noqa: SLF001 - one of us
        return copy

    def close(self) -> None:
        """Free everything; whoever still waits for scores gets a ``ScoringError``; idempotent."""
        self._closed = True
        for job in self._jobs:
            job.abandon("the lane was closed")
        self._clear()

    @abstractmethod
    def _begin(self, role: Role) -> None:
        """A turn begins; ``_role`` is still the one before."""

    @abstractmethod
    async def _extend(self, role: Role, text: str, *, tentative: bool, scored: bool) -> Sequence[TokenScore]:
        """Score ``text``, alone on this lane."""

    @abstractmethod
    def _copy(self) -> PackLane:
        """An independent lane of the same state, role included."""

    @abstractmethod
    def _clear(self) -> None:
        """Let go of the state."""

    async def _run(self, runner: Runner[Any], jobs: Sequence[Job[R]], *, admitted: bool = False) -> list[R]:
        """What comes of ``jobs``; they are given up when the lane is closed or the call cancelled."""
        self._check_open()
        self._jobs = jobs
        now = time.monotonic()
        if self._refused_at is None:
            self._refused_at = now
        try:
            runner.submit(*jobs, admitted=admitted, begins=not self._begun, waited_s=now - self._refused_at)
            self._begun, self._refused_at = True, None
            return await results(jobs)
        finally:
            self._jobs = ()

    def _check_open(self) -> None:
        if self._closed:
            raise ScoringError("the lane is closed")

    def _check_idle(self, call: str) -> None:
        self._check_open()
        if self._calls:
            raise RuntimeError(f"{call} while an extend of the same lane is under way")
