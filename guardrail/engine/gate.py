"""``Gate`` and ``GatedLane``: a heavy pack that is asked only about lanes in which a cheap one saw something.

Theory of operation
-------------------
The *gate* reads everything. A lane is *opened* by the first token of the gate that scores at least
``Gate.threshold``; until then the heavy scorer knows nothing of the lane. Then it is shown the conversation
so far as context, and what it says counts from the place on where that token begins. What is pending may
begin before a token and open the lane first, so the token waits for it, and so does the text: it is called pending
for the heavy scorer, too. So whether and where a lane opens depends on the text alone, never on how it was cut
(invariant 3), and what will be judged has not left.

An opened lane stays open, in its later turns and its forks too. Closing it when it has calmed would save
little: a heavy scorer that goes on from what it remembers would have to be shown the gap later, which costs
what scoring it would have cost, and one lane could open and close all the time.

What the gate does not see is not seen: its threshold decides what is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
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
        return any(score >= self.threshold and self._counts(name) for name, score in token.scores.items())

    def may_be_opened_by(self, token: TokenScore) -> bool:
        """Whether what the pending token becomes may open a lane."""
        return not token.scores or any(map(self._counts, token.scores))

    def _counts(self, category: str) -> bool:
        return not self.categories or category in self.categories


@dataclass(frozen=True, slots=True)
class Gating:
    """Which of several packs gate which, by their places in the list; of none nothing is said."""

    gates: Mapping[int, tuple[int, Gate]] = field(default_factory=dict)
    """A pack that is not asked about everything, to its gate and when that opens; in no circle."""
    silent: Collection[int] = ()
    """Packs that only gate: their own scores do not count."""


class GatedLane:
    """One conversation of the heavy scorer, which it is shown once the gate has opened it.

    It has one caller, who makes one call at a time and has the gate's scores of the same text.

    Args:
        scorer: the heavy one.
        rule: what opens the lane.
        opened: called once when it was.
    """

    def __init__(self, scorer: Scorer, rule: Gate, opened: Callable[[], None]) -> None:
        self._scorer, self._rule, self._opened = scorer, rule, opened
        self._heavy: LaneScorer | None = None
        self._unheard: list[
            tuple[Role, list[str]]
        ] = []  # turns, in pieces, that the heavy scorer has not read
        self._openers: list[TokenScore] = []  # wait for what is pending before them
        self._standing = False  # what is pending opens the lane if nothing more comes of it
        self._open_at: int | None = None  # where in this turn it begins to count
        self._position = 0
        # What a call that failed left behind: the heavy scores for earlier text.
        self._caught_up: list[TokenScore] = []
        self._closed = False

    def begin_turn(self, role: Role) -> None:
        """Start a new turn."""
        if self._heavy is not None and not self._unheard:
            self._heavy.begin_turn(role)
        else:
            self._unheard.append((role, []))
        self._position = 0
        if self._openers or self._standing:  # too late for the last turn, which has been answered
            self._opened()
            self._open_at = 0
        elif self._open_at is not None:
            self._open_at = 0
        self._openers, self._standing, self._caught_up = [], False, []

    async def extend(
        self, text: str, gated: Sequence[TokenScore], *, tentative: bool, scored: bool
    ) -> Sequence[TokenScore]:
        """Have the heavy scorer read ``text`` if the lane is open; arguments and errors as of ``LaneScorer``.

        Args:
            text: what follows.
            gated: what the gate says of it. Tokens of earlier text that it has said before do no harm.
            tentative: score, but forget.
            scored: False: context.

        Returns:
            The heavy scorer's tokens from where they count; what waits for the gate is pending.
        """
        end = self._position + len(text)
        openers, standing = self._openers, False
        if self._open_at is None:
            standing = any(token.pending and self._rule.opened_by(token) for token in gated)
            decided = [token for token in gated if not token.pending and self._rule.opened_by(token)]
            openers = [*openers, *decided]
            waiting = min(
                (t.span.start for t in gated if t.pending and self._rule.may_be_opened_by(t)), default=inf
            )
            first = min(openers, key=lambda token: token.span.start, default=None)
            if first is not None and first.span.start < waiting:
                if tentative:  # the word is asked for again when it is whole: until then nobody knows
                    return [self._pending(min(first.span.start, self._position), end)]
                self._open_at, openers, standing = first.span.start, [], False
                self._opened()
            elif waiting < end and scored:
                if not tentative:
                    self._commit(text, end, openers, standing=standing)
                return [self._pending(int(waiting), end)]
        heavy: Sequence[TokenScore] = ()
        if self._open_at is not None:
            lane = await self._catch_up()
            heavy = await lane.extend(text, tentative=tentative, scored=scored)
            heavy = [token for token in (*self._caught_up, *heavy) if token.span.start >= self._open_at]
        if not tentative:
            self._commit(text, end, openers, standing=standing)
        return heavy

    def fork(self) -> GatedLane:
        """An independent copy, in the same turn."""
        copy = GatedLane(self._scorer, self._rule, self._opened)
        copy._heavy = None if self._heavy is None else self._heavy.fork()
        copy._unheard = [(role, list(pieces)) for role, pieces in self._unheard]
        copy._openers, copy._caught_up = list(self._openers), list(self._caught_up)
        copy._standing, copy._open_at, copy._position = self._standing, self._open_at, self._position
        return copy

    def close(self) -> None:
        """Free everything; idempotent."""
        self._closed = True
        if self._heavy is not None:
            self._heavy.close()

    async def _catch_up(self) -> LaneScorer:
        """The heavy scorer's lane, after it has read all that came before."""
        if self._heavy is None:
            if self._closed:  # while the gate read
                raise ScoringError("the lane is closed")
            self._heavy = self._scorer.open()
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

    def _commit(self, text: str, end: int, openers: list[TokenScore], *, standing: bool) -> None:
        if self._open_at is None and self._unheard:
            self._unheard[-1][1].append(text)
        self._openers, self._standing, self._position, self._caught_up = openers, standing, end, []

    def _pending(self, start: int, end: int) -> TokenScore:
        """Text of which nobody knows yet whether the heavy scorer will judge it."""
        return TokenScore(
            Span(start, end), dict.fromkeys(self._scorer.categories, 0.0), pending=True, exact=True
        )
