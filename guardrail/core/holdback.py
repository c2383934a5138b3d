"""``HoldBack``: the text of one lane that has arrived and was not yet released, and its watermarks.

Rule 1: nothing else holds upstream text. Rule 2: released <= cleared <= arrived, always (invariant 1);
a call that would break it raises, it is never "corrected". This file does not know why text is cleared.

Watermarks are positions in the upstream's text. Text that is withheld while the text behind it goes on
counts as passed by the released watermark, and is counted apart.
"""

from __future__ import annotations

from guardrail.core.spans import Span

LOOK_BACK_CHARS = 64
"""Code points before a position that say whether a sentence ends there."""

_TRAIL_CHARS = 256  # released text kept for looking back: more than any sentence rule needs


class HoldBack:
    """Hold text back until a prefix of it has been cleared, and release it in order."""

    def __init__(self) -> None:
        self._kept = ""  # the trail of released text, then everything not yet released
        self._offset = 0  # position of the first code point of ``_kept``
        self.released = 0
        """Up to where text has left, or was withheld for good."""
        self.masked = 0
        """Code points before ``released`` that were withheld."""
        self.cleared = 0
        """Code points judged fit to leave."""

    @property
    def arrived(self) -> int:
        """Code points that have come."""
        return self._offset + len(self._kept)

    @property
    def held(self) -> int:
        """Code points that have come and may still leave."""
        return self.arrived - self.released

    def append(self, text: str) -> None:
        """Text arrived."""
        self._kept += text

    def text(self, start: int, end: int | None = None) -> str:
        """Kept text from position ``start``; positions before the trail are cut off."""
        begin = max(0, start - self._offset)
        return self._kept[begin:] if end is None else self._kept[begin : max(begin, end - self._offset)]

    def clear(self, end: int) -> None:
        """Everything before ``end`` is fit to leave; a lower ``end`` than before changes nothing."""
        if end > self.arrived:
            msg = f"cannot clear to {end}: only {self.arrived} code points arrived"
            raise ValueError(msg)
        self.cleared = max(self.cleared, end)

    def release(self, end: int) -> tuple[Span, str]:
        """Let everything before ``end`` leave.

        Returns:
            The span that left now and its text; empty when it had left before.
        """
        if end > self.cleared:
            msg = f"cannot release to {end}: only {self.cleared} code points are cleared"
            raise ValueError(msg)
        span = Span(self.released, max(self.released, end))
        text = self.text(span.start, span.end)
        self.released = span.end
        return span, text

    def withhold(self, end: int) -> tuple[Span, str]:
        """Everything before ``end`` that has not left never will; what comes after it may.

        Returns:
            The span that was withheld now and its text.
        """
        span, text = self.release(end)
        self.masked += len(span)
        return span, text

    def forget(self, judged: int) -> None:
        """Drop text that nobody can ask for again: released, judged and behind the trail."""
        keep_from = min(self.released, judged) - _TRAIL_CHARS
        # Slicing copies: do it only when it frees more than it moves.
        if keep_from - self._offset > max(_TRAIL_CHARS, len(self._kept) // 2):
            self._kept = self._kept[keep_from - self._offset :]
            self._offset = keep_from
