"""What to feed the network, and where a lane that outgrew its positions starts again.

Rule 1: a token is fed with at most ``max_positions - 1`` tokens before it. When the window is full and
one more token comes, the lane *re-anchors*: the start token, the marker of the role in whose turn the
kept part begins, and the last quarter of the window are fed anew from position 0. Feeding a token again costs
as much as a prompt's, so a lane that goes on for ever pays for a third of a token more with each of its own;
with half of the window it would be a whole one.
Rule 2: where that happens depends on the number of tokens only, never on how text was cut into calls
or steps (invariant 3).

Pure: token ids in, passes out. Knows nothing of text, scores or caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """Token ids to be fed one after the other onto one cache."""

    ids: tuple[int, ...]
    scored_from: int
    """Index of the first id whose logits are wanted; those before it are context."""
    fresh: bool
    """Whether it starts on an empty cache, at position 0."""


@dataclass(frozen=True, slots=True)
class Anchoring:
    """The rules of one pack.

    Args:
        start: what every window begins with, one token or none.
        markers: the tokens that open turns. No text can produce the first of one, so a window tells its
            roles. None for a network that knows no roles.
        max_positions: tokens the network can attend to at once.
    """

    start: Ids
    markers: tuple[Ids, ...]
    max_positions: int

    @property
    def overhead(self) -> int:
        """How much of a new window may stand before the kept part."""
        return len(self.start) + max((len(marker) for marker in self.markers), default=0)

    def plan(self, window: Sequence[int], new: Sequence[int]) -> tuple[list[Pass], tuple[int, ...]]:
        """How to feed ``new`` to a lane.

        Args:
            window: the ids in the lane's cache; empty for a new lane.
            new: the ids to be scored, at least one; a new lane's begin with a marker, if there are any.

        Returns:
            The passes, in order, whose wanted ids are together exactly ``new``; and the window after.
        """
        if window and len(window) + len(new) <= self.max_positions:
            return [Pass(tuple(new), 0, fresh=False)], (*window, *new)
        current = list(window)
        passes: list[Pass] = []
        ids: list[int] = []
        fresh = not current
        if fresh:
            current += self.start
            ids += self.start
        scored_from = len(ids)
        rest = list(new)
        while rest:
            room = self.max_positions - len(current)
            taken, rest = rest[:room], rest[room:]
            current += taken
            ids += taken
            if taken:
                passes.append(Pass(tuple(ids), scored_from, fresh))
            if rest:
                current = self._anchor(current)
                ids, scored_from, fresh = list(current), len(current), True
        return passes, tuple(current)

    def _anchor(self, window: Sequence[int]) -> list[int]:
        kept_from = len(window) - (max(self.max_positions // 4, 2 * self.overhead) - self.overhead)
        if not self.markers:
            return [*self.start, *window[kept_from:]]
        place = kept_from
        while not (marker := self._marker_at(window, place)):
            place -= 1  # the first turn's marker is at the beginning of every window
        return [*self.start, *marker, *window[max(kept_from, place + len(marker)) :]]

    def _marker_at(self, window: Sequence[int], place: int) -> Ids:
        """The marker that begins at ``place``; nothing where none does."""
        return next(
            (marker for marker in self.markers if tuple(window[place : place + len(marker)]) == marker), ()
        )
