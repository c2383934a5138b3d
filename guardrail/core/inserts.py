"""``InsertQueue``: the interventions of one lane that wait for their words, each with its place in the text.

Rule 1: they stand in line in the order of their places, and no two overlap: what is behind one is free.
Rule 2: once the words of one were asked for, nothing about it changes.
Rule 3: a *terminal* one ends the lane. It takes the place of masks behind it, and of one it would stand in
    the middle of, so that no part of what they withhold leaves.

A *mask* withholds its span and lets the text behind it go on; any other insert stands between two
characters. This file does not know when the first in line gets its words.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from guardrail.core.json_view import Fit
from guardrail.core.splice import ClientView, after_insert
from guardrail.core.verdicts import Decision


@dataclass(slots=True)
class Insert:
    """An intervention with its place in the text, waiting for its words."""

    decision: Decision
    at: int
    terminal: bool = False
    following: str = ""
    """How the upstream goes on behind it."""
    until: int = 0
    """A mask's: where the upstream's text goes on."""
    fit: Fit | None = None
    """A mask's in a JSON text: how its words are written."""
    silent: bool = False
    """A mask that goes on with what the one before it began: its words have been said."""
    asked: bool = False
    """Its words were asked for."""

    @property
    def is_mask(self) -> bool:
        """Whether it stands for a piece of text."""
        return self.until > self.at

    @property
    def withheld(self) -> int:
        """Code points of upstream text it stands for."""
        return self.until - self.at if self.is_mask else 0

    def joined(self, words: str, view: ClientView) -> str:
        """``words`` with what joins them to the text around them, ``view`` being what the client has read."""
        if self.is_mask:
            return self.fit.worded(words) if self.fit else words
        after = "" if self.terminal else after_insert(self.following)
        return view.before_insert() + words + after


class InsertQueue:
    """Interventions in line."""

    def __init__(self) -> None:
        self._line: deque[Insert] = deque()

    def __bool__(self) -> bool:
        return bool(self._line)

    @property
    def first(self) -> Insert | None:
        """The one whose turn it is."""
        return self._line[0] if self._line else None

    @property
    def end(self) -> int:
        """Where the text begins that no insert stands in."""
        return max(self._line[-1].at, self._line[-1].until) if self._line else 0

    @property
    def placed(self) -> int:
        """The last place of one that is no mask."""
        return max((insert.at for insert in self._line if not insert.is_mask), default=0)

    def mask_beyond(self, at: int) -> Insert | None:
        """The last one, if it is a mask that may still change and reaches beyond ``at``."""
        last = self._line[-1] if self._line else None
        return last if last and last.is_mask and not last.asked and at < last.until else None

    def append(self, insert: Insert) -> None:
        """Put one in line; its place is behind ``end``."""
        self._line.append(insert)

    def append_terminal(self, decision: Decision, place: int) -> None:
        """Put the last one in line, at ``place`` or as near as rule 3 and what was asked for allow."""
        while self._line and not self._line[-1].asked and self._line[-1].until > place:
            place = min(place, self._line.pop().at)
        self._line.append(Insert(decision, max(place, self.end), terminal=True))

    def take(self) -> Insert:
        """The first one leaves the line."""
        return self._line.popleft()
