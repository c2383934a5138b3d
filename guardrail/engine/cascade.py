"""``Cascade``: a cheap scorer that decides, lane by lane, whether a heavier one is asked at all.

Theory of operation
-------------------
The *gate* reads everything. A lane is *opened* by the first token of the gate that scores at least
``Gate.threshold``; until then the heavy scorer knows nothing of the lane. Then it is shown the conversation
so far as context, and what it says counts from the place on where that token begins. What is pending may
begin before a token and open the lane first, so the token waits for it. So whether and where a lane opens
depends on the text alone, never on how it was cut (invariant 3).

In categories that both know, the gate only opens: its low scores stand for "nothing here", its high ones for
"ask". In those that it alone knows (card numbers and the like) it speaks for itself, always.

An opened lane stays open, in its later turns and its forks too. Closing it when it has calmed would save
little: a heavy scorer that goes on from what it remembers would have to be shown the gap later, which costs
what scoring it would have cost, and one lane could open and close all the time.

What the gate does not see is not seen: its threshold decides what is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import inf

from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.scorer import LaneScorer, Scorer
from guardrail.errors import ScoringError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """When the heavy scorer is asked."""

    threshold: float
    """Score of the cheap scorer from which on a lane is open, (0, 1]; low, for what it misses is missed."""
    categories: Collection[str] = ()
    """Categories that count; none given: all."""

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 1.0:
            msg = f"gate.threshold must be over 0 and at most 1, got {self.threshold}"
            raise ValueError(msg)

    def opened_by(self, token: TokenScore) -> bool:
        """Whether the token opens a lane."""
        return any(
            score >= self.threshold and (not self.categories or category in self.categories)
            for category, score in token.scores.items()
        )


class Cascade(Scorer):
    """Two scorers as one.

    Args:
        gate: the cheap one; reads every lane.
        heavy: the other one; reads the lanes that the gate opened.
        rule: when that is.
    """

    def __init__(self, gate: Scorer, heavy: Scorer, rule: Gate) -> None:
        self.gate, self.heavy, self.rule = gate, heavy, rule
        self.lanes_opened = 0
        """Lanes that the gate has opened so far; forks of an open lane do not count again."""

    @property
    def name(self) -> str:
        """Both names, for records."""
        return f"{self.heavy.name}<{self.gate.name}"

    @property
    def categories(self) -> Sequence[str]:
        """The categories of either."""
        return tuple(dict.fromkeys((*self.heavy.categories, *self.gate.categories)))

    def open(self) -> _CascadeLane:
        """A new, empty conversation."""
        return _CascadeLane(self, self.gate.open())


class _CascadeLane:
    """One conversation; the gate's scores, and the heavy scorer's where it was opened."""

    def __init__(self, scorer: Cascade, gate: LaneScorer) -> None:
        self._scorer = scorer
        self._gate = gate
        self._heavy: LaneScorer | None = None
        self._unheard: list[
            tuple[Role, list[str]]
        ] = []  # turns, in pieces, that the heavy scorer has not read
        self._openers: list[TokenScore] = []  # wait for what is pending before them
        self._open_at: int | None = None  # where in this turn it begins to count
        self._position = 0
        # What a call that failed left behind: what the gate read, and the heavy scores for earlier text.
        self._read, self._gated, self._caught_up = "", list[TokenScore](), list[TokenScore]()
        self._turnstile = asyncio.Lock()
        self._calls = 0
        self._closed = False

    def begin_turn(self, role: Role) -> None:
        self._check_idle("begin_turn")
        self._gate.begin_turn(role)
        if self._heavy is not None and not self._unheard:
            self._heavy.begin_turn(role)
        else:
            self._unheard.append((role, []))
        self._position = 0
        self._open_at = 0 if self._openers or self._open_at is not None else None
        self._openers = []
        self._read, self._gated, self._caught_up = "", [], []

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        self._calls += 1
        try:
            async with self._turnstile:
                if self._closed:
                    raise ScoringError("the lane is closed")
                return await self._extend(text, tentative=tentative, scored=scored)
        finally:
            self._calls -= 1

    def fork(self) -> LaneScorer:
        self._check_idle("fork")
        copy = _CascadeLane(self._scorer, self._gate.fork())
        copy._heavy = None if self._heavy is None else self._heavy.fork()
        copy._unheard = [(role, list(pieces)) for role, pieces in self._unheard]
        copy._openers = list(self._openers)
        copy._open_at, copy._position = self._open_at, self._position
        copy._read, copy._gated, copy._caught_up = self._read, list(self._gated), list(self._caught_up)
        return copy

    def close(self) -> None:
        self._closed = True
        self._gate.close()
        if self._heavy is not None:
            self._heavy.close()

    # -- one call ----------------------------------------------------------------------------------------

    async def _extend(self, text: str, *, tentative: bool, scored: bool) -> Sequence[TokenScore]:
        end = self._position + len(text)
        gated = await self._ask_gate(text, tentative=tentative, scored=scored)
        openers = [*self._openers, *(token for token in gated if not token.pending and self._opens(token))]
        opening = _first(openers, gated)
        if opening is not None:
            if tentative:  # the word is asked for again when it is whole: until then nobody knows
                return [*self._merged(gated, ()), TokenScore(Span(self._position, end), {}, pending=True)]
            self._open_at, openers = opening.span.start, []
            self._scorer.lanes_opened += 1
        heavy: Sequence[TokenScore] = ()
        if self._open_at is not None:
            lane = await self._catch_up()
            heavy = await lane.extend(text, tentative=tentative, scored=scored)
            heavy = [*self._caught_up, *heavy]
        if not tentative:
            self._openers = openers
            self._commit(text, end)
        return self._merged(gated, heavy)

    async def _ask_gate(self, text: str, *, tentative: bool, scored: bool) -> list[TokenScore]:
        """The gate's scores of ``text``; a call that failed later on has perhaps asked for them before."""
        unread = text[len(self._read) :]
        gated = self._gated
        if unread:
            fresh = await self._gate.extend(unread, tentative=tentative, scored=scored)
            gated = [*(token for token in gated if not token.pending), *fresh]
            if not tentative:
                self._read, self._gated = self._read + unread, gated
        end = self._position + len(text)
        return [token for token in gated if token.span.start < end]

    async def _catch_up(self) -> LaneScorer:
        """The heavy scorer's lane, after it has read all that came before."""
        if self._heavy is None:
            self._heavy = self._scorer.heavy.open()
            for role, _ in self._unheard[:1]:
                self._heavy.begin_turn(role)
        heavy, open_at = self._heavy, self._open_at or 0
        while self._unheard:
            _, pieces = self._unheard[0]
            this_turn = len(self._unheard) == 1
            start = self._position - sum(map(len, pieces))
            while pieces:
                # Text that was pending for the gate, up to here, is judged only now.
                counts = this_turn and start + len(pieces[0]) > open_at
                scores = await heavy.extend(pieces[0], scored=counts)
                start += len(pieces.pop(0))
                self._caught_up += scores
            self._unheard.pop(0)
            if self._unheard:
                heavy.begin_turn(self._unheard[0][0])
        return heavy

    def _opens(self, token: TokenScore) -> bool:
        return self._open_at is None and self._scorer.rule.opened_by(token)

    def _commit(self, text: str, end: int) -> None:
        if self._open_at is None and self._unheard:
            self._unheard[-1][1].append(text)
        self._position = end
        self._read = self._read[len(text) :]
        self._gated = [token for token in self._gated if token.span.start >= end]
        self._caught_up = []

    def _merged(self, gated: Sequence[TokenScore], heavy: Sequence[TokenScore]) -> list[TokenScore]:
        """The gate's word on what it alone knows, and the heavy scorer's from where it counts."""
        theirs = self._scorer.heavy.categories
        ours = [category for category in self._scorer.gate.categories if category not in theirs]
        tokens = [_only(token, ours) for token in gated]
        tokens += [_only(token, theirs) for token in heavy if token.span.start >= (self._open_at or 0)]
        return sorted(
            (token for token in tokens if token is not None), key=lambda t: (t.span.end, t.span.start)
        )

    def _check_idle(self, call: str) -> None:
        if self._closed:
            raise ScoringError("the lane is closed")
        if self._calls:
            raise RuntimeError(f"{call} while an extend of the same lane is under way")


def _first(openers: Sequence[TokenScore], gated: Sequence[TokenScore]) -> TokenScore | None:
    """The first of ``openers``, if nothing is pending that begins before it."""
    pending_at = min((token.span.start for token in gated if token.pending), default=inf)
    decided = (token for token in openers if token.span.start < pending_at)
    return min(decided, key=lambda token: token.span.start, default=None)


def _only(token: TokenScore, categories: Sequence[str]) -> TokenScore | None:
    """What a token says of ``categories``; None if that is nothing.

    A token that names no category says 0 of all that its scorer knows, and of no other scorer's.
    """
    known = token.scores or dict.fromkeys(categories, 0.0)
    scores = {category: known[category] for category in categories if category in known}
    return replace(token, scores=scores) if scores else None
