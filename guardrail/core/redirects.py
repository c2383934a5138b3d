"""``Redirects``: help that a lane's reader is to be offered, until there is a good place for it.

Rule 1: help stands where a sentence ends, and never inside a code block, a table or a list.
Rule 2: the gravest decision waits; help for one category is offered once in a lane.
Rule 3: what is a good place follows from the upstream's own text alone, not from what has left of it or
    was inserted (invariant 3).
"""

from __future__ import annotations

from guardrail.core.holdback import LOOK_BACK_CHARS, HoldBack
from guardrail.core.segments import ends_sentence
from guardrail.core.splice import ClientView
from guardrail.core.verdicts import Decision


class Redirects:
    """The redirects of one lane.

    Args:
        text: the lane's text; it is only read.
    """

    def __init__(self, text: HoldBack) -> None:
        self._text = text
        self._outline = ClientView()  # the upstream's own text, as far as it was judged
        self._categories: set[str] = set()  # that help was decided on for
        self.waiting: Decision | None = None
        """The one that waits for its place."""

    def add(self, decision: Decision) -> None:
        """Help is wanted."""
        graver = self.waiting is None or decision.finding.severity > self.waiting.finding.severity
        if graver and decision.finding.category not in self._categories:
            self._categories.add(decision.finding.category)
            self.waiting = decision

    def read(self, text: str) -> None:
        """``text``, which follows what was read before, was judged, or never will be."""
        self._outline.read(text)

    def place(self, at: int, word: str) -> int | None:
        """Where help would stand before ``word``, which begins at ``at``, where what was read ends.

        Returns:
            The place behind the word's spaces, which stay with the text before it; None: not here.
        """
        before = self._text.text(max(0, at - LOOK_BACK_CHARS), at)
        if self._outline.in_block or not ends_sentence(before, word):
            return None
        space = word[: len(word) - len(word.lstrip())]
        return at if "\n" in space or "\r" in space else at + len(space)

    def clear(self) -> None:
        """None waits any more."""
        self.waiting = None
