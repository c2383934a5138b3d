"""``HoldPoint``: the position that no text of a watched lane passes, however much of it is cleared.

Rule 1: the first word at WATCH pins the hold point in front of it; it stays until the judge is CLEAR again
    (its hysteresis) or an intervention takes the place of what is held. So an intervention finds the risk
    it is about still unreleased.
Rule 2: a pin that would hold more than ``max_held_chars`` moves up to the last sentence end behind it:
    everything there was judged and no finding came of it.
Rule 3: it never moves past a risk that is over its threshold and waits to be confirmed.
Rule 4: it depends on the word at hand, never on chunk borders or on when scores came (invariant 3).
"""

from __future__ import annotations

from guardrail.core.holdback import LOOK_BACK_CHARS, HoldBack
from guardrail.core.segments import ends_sentence
from guardrail.core.spans import Span
from guardrail.core.verdicts import Level


class HoldPoint:
    """Where the text of one lane is held.

    Args:
        text: the lane's text; it is only read.
        max_held_chars: how much may be held before whole sentences are let go.
    """

    def __init__(self, text: HoldBack, max_held_chars: int) -> None:
        self._text = text
        self._max_held_chars = max_held_chars
        self.at: int | None = None
        """Its position, or None: nothing is held."""
        self.unconfirmed_at: int | None = None
        """Where a risk begins that waits to be confirmed, as the judge said last."""

    @property
    def free_to(self) -> int:
        """Up to where cleared text may leave."""
        return self._text.cleared if self.at is None else min(self.at, self._text.cleared)

    def mark(self, word: Span, level: Level, placed: int) -> None:
        """The word was judged: pin or lift the hold point.

        Args:
            word: its span.
            level: the highest level its tokens reached.
            placed: the last place of words of ours in the text, which are not held.
        """
        if level is Level.CLEAR:
            self.at = None
        elif self.at is None:
            self.at = max(word.start, self._text.released, placed)
        else:
            self.limit(word)

    def limit(self, word: Span) -> None:
        """Move up when more is held than may be, now that ``word`` is."""
        if self.at is None or word.end - self.at <= self._max_held_chars:
            return
        free_to = word.start if self.unconfirmed_at is None else min(word.start, self.unconfirmed_at)
        self.at = self._last_sentence_end(self.at, max(self.at, free_to))

    def may_move_to(self, at: int) -> bool:
        """Whether nothing that waits to be confirmed begins before ``at``."""
        return self.at is None or self.unconfirmed_at is None or self.unconfirmed_at >= at

    def move_to(self, at: int) -> None:
        """What is held before ``at`` may leave."""
        self.at = None if self.at is None else at

    def lift(self) -> None:
        """Nothing is held any more."""
        self.at = None

    def _last_sentence_end(self, start: int, end: int) -> int:
        """The last sentence end in ``(start, end)`` that shows by what follows it, else ``end``."""
        text = self._text.text(start, end)
        for at in range(len(text) - 1, 0, -1):
            if ends_sentence(text[max(0, at - LOOK_BACK_CHARS) : at], text[at : at + 4]):
                return start + at
        return end
