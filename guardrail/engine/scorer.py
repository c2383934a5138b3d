"""``Scorer``: all that the rest of the sidecar knows of a classifier.

A conversation is opened once; its turns are extended with text as it comes; every classifier token
of the new text comes back scored, in order. A conversation can be forked, so that the answers of one
request (``n > 1``) share the scored prompt. Implementations must give the same scores however the
text was cut into ``extend`` calls at word ends, and whatever else is in the batch (invariant 11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from guardrail.core.verdicts import Role, TokenScore


class LaneScorer(Protocol):
    """One conversation under scoring: the turns so far and the one being written."""

    def begin_turn(self, role: Role) -> None:
        """Start a new turn; positions of scores count from its first code point.

        Not while an ``extend`` is under way: to which turn its text belongs would be a guess.
        """
        ...

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        """Score ``text``, the continuation of the current turn.

        Args:
            text: must end where a word ends, unless ``tentative`` or the last of its turn. A scorer may judge
                the user's turns by sentence; they are there as a whole, and must be handed over whole or cut
                where a sentence ends.
            tentative: score, but forget: the next call continues where this one began. So it does
                after a call that was cancelled; a scorer that cannot go back before it fails the next call.
            scored: False: context for what is to come; nobody wants its scores, and none come back.

        Returns:
            One entry a classifier token of ``text``; spans in code points of the turn. White space
            alone gives none. Roles without a head (system) give none.

        Raises:
            ScoringError: the text could not be scored; the lane is usable no longer.
            OverloadedError: refused at the door; nothing was scored, the call may be repeated.
        """
        ...

    def fork(self) -> LaneScorer:
        """An independent copy, in the same turn, sharing what has been scored so far.

        Not while an ``extend`` is under way.
        """
        ...

    def close(self) -> None:
        """Free everything, including work that is queued; idempotent.

        An ``extend`` that is under way ends with a ``ScoringError``.
        """
        ...


class Scorer(Protocol):
    """A classifier ready for work."""

    @property
    def name(self) -> str:
        """Pack name and version, for records."""
        ...

    @property
    def categories(self) -> Sequence[str]:
        """The categories it scores."""
        ...

    def open(self) -> LaneScorer:
        """A new, empty conversation."""
        ...
