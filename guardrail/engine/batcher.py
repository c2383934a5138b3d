"""Which work goes into the next step.

Rule 1: *live* work (a word or a few, ``live_tokens`` at most) goes before *bulk* work (a prompt, a
re-anchoring), and the two never share a step: a word would wait for the prompt's, and attend as if it were as long.
Rule 2: bulk work is sliced. It runs when no live work waits; or, between two live steps, when it has
waited ``bulk_patience_s``. Two bulk steps never follow each other while live work waits.
Rule 3: within a kind, who has waited longest goes first, and others join as long as the step's cost,
rows times longest row, stays within ``max_batch_tokens`` and is not for the most part padding.
Rule 4: a lane has at most one row in a step. Work that was cancelled is dropped first.
Rule 5: of many lanes with live work a step takes half, so that those who wait for one half read their scores and
bring their next words while the other half is computed. The lanes that count are those that wait and those of the last
live step, if that is less than ``COMES_BACK_S`` ago: they are about to come back.

Pure: no clock, no thread, no arrays; the time is an argument, in seconds of any clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

COMES_BACK_S = 0.1
"""A stream's next word comes within a tenth of a second, or it is not awaited."""


class Work(Protocol):
    """What the batcher needs to know of a piece of work."""

    @property
    def lane(self) -> Hashable:
        """Whose work it is."""
        ...

    @property
    def tokens_ready(self) -> int:
        """Tokens that could be fed in one step, at least 1."""
        ...

    @property
    def tokens_wanted(self) -> int:
        """Tokens whose scores are waited for; few of them make it live, however much has to be fed."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        ...


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a step may cost."""

    max_batch_tokens: int = 256
    """Rows times longest row, as attention pads them. A live word waits for the step that runs, and for the other half."""
    max_batch_lanes: int = 32
    """Rows; bounds the memory in which the past of a step is put together."""
    live_tokens: int = 8
    """Work that scores at most this many tokens is live: an English word has one to four."""
    slice_tokens: int = 64
    """Bulk work takes at most this many a step; enough to be efficient, little enough to wait for."""
    bulk_patience_s: float = 0.005
    """How long bulk work stands back for live work."""
    halved_lanes: int = 16
    """From so many live lanes on, a step takes half of them. Of fewer, a step of half costs about what one of all
    does."""

    def __post_init__(self) -> None:
        if not 1 <= self.live_tokens <= self.slice_tokens <= self.max_batch_tokens:
            raise ValueError("needs 1 <= live_tokens <= slice_tokens <= max_batch_tokens")
        if self.max_batch_lanes < 1:
            raise ValueError("needs max_batch_lanes >= 1")
        if self.halved_lanes < 2:
            raise ValueError("needs halved_lanes >= 2")


W = TypeVar("W", bound=Work)


@dataclass(frozen=True, slots=True)
class Slice(Generic[W]):
    """The next ``tokens`` tokens of a piece of work."""

    work: W
    tokens: int


@dataclass(frozen=True, slots=True)
class Batch(Generic[W]):
    """One step."""

    slices: list[Slice[W]] = field(default_factory=list)
    """One a row, each of another lane; empty when nothing was waiting."""
    dropped: list[W] = field(default_factory=list)
    """Cancelled work that was waiting and is gone."""
    waited_s: float = 0.0
    """The longest time work of this step has waited for it."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[W]):
    work: W
    since: float


class Batcher(Generic[W]):
    """Work in, steps out.

    A piece of work that is not done after its step is pushed again, and waits from then.

    Args:
        limits: what a step may cost.
    """

    def __init__(self, limits: BatchLimits | None = None) -> None:
        self._limits = limits or BatchLimits()
        # In the order in which they were pushed, which is the order of their age.
        self._live: list[_Waiting[W]] = []
        self._bulk: list[_Waiting[W]] = []
        self._last_was_bulk = False
        self._last_live: frozenset[Hashable] = frozenset()
        self._last_live_at = 0.0

    def push(self, work: W, now: float) -> None:
        """Let ``work`` wait for a step from ``now`` on."""
        queue = self._live if work.tokens_wanted <= self._limits.live_tokens else self._bulk
        queue.append(_Waiting(work, now))

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._live or self._bulk)

    def pop_batch(self, now: float) -> Batch[W]:
        """The next step; empty only if no uncancelled work waits."""
        dropped = [waiting.work for waiting in (*self._live, *self._bulk) if waiting.work.cancelled]
        if dropped:
            self._live = [waiting for waiting in self._live if not waiting.work.cancelled]
            self._bulk = [waiting for waiting in self._bulk if not waiting.work.cancelled]
        if self.is_empty():
            return Batch(dropped=dropped)
        self._last_was_bulk = bulk = self._is_bulk_next(now)
        if bulk:
            taken, self._bulk = self._take(self._bulk, self._limits.max_batch_lanes)
        else:
            taken, self._live = self._take(self._live, self._live_rows(now))
            self._last_live, self._last_live_at = frozenset(waiting.work.lane for waiting in taken), now
        slices = [Slice(waiting.work, self._tokens(waiting.work)) for waiting in taken]
        return Batch(slices, dropped, max(0.0, now - taken[0].since))

    def _is_bulk_next(self, now: float) -> bool:
        if not self._live:
            return True
        if not self._bulk or self._last_was_bulk:
            return False
        return now - self._bulk[0].since >= self._limits.bulk_patience_s

    def _tokens(self, work: W) -> int:
        return min(work.tokens_ready, self._limits.slice_tokens)

    def _live_rows(self, now: float) -> int:
        """How many rows the next live step may have."""
        coming = self._last_live if now - self._last_live_at < COMES_BACK_S else frozenset()
        in_play = len(coming.union(waiting.work.lane for waiting in self._live))
        half = (in_play + 1) // 2 if in_play >= self._limits.halved_lanes else in_play
        return min(half, self._limits.max_batch_lanes)

    def _take(self, queue: list[_Waiting[W]], max_rows: int) -> tuple[list[_Waiting[W]], list[_Waiting[W]]]:
        taken: list[_Waiting[W]] = []
        left: list[_Waiting[W]] = []
        lanes: set[Hashable] = set()
        longest = total = 0
        for waiting in queue:
            tokens = self._tokens(waiting.work)
            total_then, longest_then = total + tokens, max(longest, tokens)
            cost = (len(taken) + 1) * longest_then
            if (
                len(taken) < max_rows
                and waiting.work.lane not in lanes
                and cost <= self._limits.max_batch_tokens
                and 2 * total_then >= cost
            ):
                taken.append(waiting)
                lanes.add(waiting.work.lane)
                total, longest = total_then, longest_then
            else:
                left.append(waiting)
        return taken, left
