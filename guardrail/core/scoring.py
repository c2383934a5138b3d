"""``Scoring``: which text of a lane goes out to be scored, and when.

Rule 1: one ``ScoreText`` is out at a time. What gathers meanwhile goes out together, so a step widens by
    itself under load.
Rule 2: text goes out up to the last word end that is known. The open word goes out only when its timer
    fires, and tentatively: its score releases it, and the word is scored again once it is whole.
Rule 3: the timer is set once an open word, from its first character: a word that grows must not put its
    deadline off.

This file does not know what scores say, nor what is done where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

from guardrail.core.commands import ScoreText, WakeAfter
from guardrail.core.holdback import HoldBack
from guardrail.core.segments import scorable
from guardrail.core.spans import Span


@dataclass(slots=True)
class Out:
    """The ``ScoreText`` that is out."""

    span: Span
    tentative: bool
    passed: bool = False
    """It was late and the policy said pass: its text has already left."""


class Scoring:
    """The way of one lane's text to its scorer.

    Args:
        text: the lane's text; it is only read.
        open_word_deadline_s: how long a word may stay open before it is scored as it stands; 0 switches the
            timer off.
    """

    def __init__(self, text: HoldBack, open_word_deadline_s: float) -> None:
        self._text = text
        self._open_word_deadline_s = open_word_deadline_s
        self._tried = 0  # up to where the open word was scored tentatively
        self._timer_for: tuple[int, int] | None = None  # the open word the timer was set for
        self.scored = 0
        """Up to where scores have come, or never will."""
        self.out: Out | None = None
        """What is out, or None."""

    def answered(self) -> Out | None:
        """The ``ScoreText`` that was out has got its answer; None: there was none."""
        out, self.out = self.out, None
        return out

    def move_to(self, scored: int) -> None:
        """Text before ``scored`` needs no scores any more."""
        self.scored = scored

    def skip_blank_end(self) -> bool:
        """All text has come: pass over white space at its end.

        It carries no token, and a scorer need not see it, but its positions count the rest.

        Returns:
            Whether there was any.
        """
        rest = self._text.text(self.scored)
        if self.out is not None or not rest.isspace():
            return False
        self.scored = self._text.arrived
        return True

    def next_words(self, *, final: bool) -> ScoreText | WakeAfter | None:
        """What to do about the text that has come.

        Args:
            final: all of it has.
        """
        if self.out is not None:
            return None
        size = scorable(self._text.text(self.scored), final=final)
        if size:
            return self._send(self.scored + size, tentative=False)
        word = (self.scored, self._tried)
        timed = self._open_word_deadline_s > 0 and self._timer_for != word
        if final or not timed or not self.open_word_waits:
            return None
        self._timer_for = word
        return WakeAfter(self._open_word_deadline_s)

    @property
    def open_word_waits(self) -> bool:
        """Whether there is open text that a reader waits for and that was not yet tried as it stands."""
        return self._text.arrived > max(self._text.cleared, self.scored, self._tried)

    def timer_fired(self) -> None:
        """The timer may be set anew."""
        self._timer_for = None

    def try_open_word(self) -> ScoreText | None:
        """Score the open word as it stands; None: it is white space, which only belongs to the next one."""
        self._tried = self._text.arrived
        if not self._text.text(self.scored).strip():
            return None
        return self._send(self._text.arrived, tentative=True)

    def _send(self, end: int, *, tentative: bool) -> ScoreText:
        span = Span(self.scored, end)
        self.out = Out(span, tentative)
        return ScoreText(span, self._text.text(span.start, span.end), tentative)
