"""``Masks``: which piece of a lane's text is withheld for a span that must not leave.

Rule 1: what has left has left: a mask covers its finding's span from the released watermark on.
Rule 2: spans that overlap are withheld as one, with the words of the first; where the first one's words
    have been said already, the rest is withheld in silence.
Rule 3: in a JSON text a mask is put where its words keep the JSON valid, or not at all.
"""

from __future__ import annotations

from dataclasses import replace

from guardrail.core.holdback import HoldBack
from guardrail.core.inserts import Insert, InsertQueue
from guardrail.core.json_view import Fit, JsonView
from guardrail.core.spans import Span
from guardrail.core.verdicts import Decision


class Masks:
    """The masks of one lane.

    Args:
        text: the lane's text; it is only read.
        inserts: where masks stand in line.
        prose: False: the text is JSON.
    """

    def __init__(self, text: HoldBack, inserts: InsertQueue, *, prose: bool) -> None:
        self._text = text
        self._inserts = inserts
        self._json = None if prose else JsonView()  # has read up to where text was released or masked
        self._last = Span(0, 0)  # the last span that was withheld

    def released(self, text: str) -> None:
        """``text`` has left."""
        if self._json is not None:
            self._json.read(text)

    def withheld(self, span: Span, text: str) -> None:
        """``text`` was withheld for good; ``span`` is its place."""
        self._last = span
        self.released(text)

    def place(self, decision: Decision) -> bool:
        """Put a mask in line for its finding's span, if any of it has not left.

        Returns:
            False: there is no way to withhold it here.
        """
        span, released = decision.finding.span, self._text.released
        start, end = max(span.start, released), span.end
        earlier = self._inserts.mask_beyond(start)
        if earlier is not None:
            start, end = earlier.at, max(earlier.until, end)
        else:
            start = max(start, self._inserts.end)
        fit = None
        if self._json is not None:
            fit = self._fit(self._json, start, end) if start < end else None
            if fit is None:
                return False
            start, end = start + fit.start, start + fit.end
        if earlier is not None:
            earlier.at, earlier.until, earlier.fit = start, end, fit
        elif start < end:
            silent = span.start < self._last.end == released
            self._inserts.append(Insert(decision, start, until=end, fit=fit, silent=silent))
        return True

    def _fit(self, view: JsonView, start: int, end: int) -> Fit | None:
        """How ``[start, end)`` can be masked in a JSON text that ``view`` has read up to where it was released."""
        view, text = replace(view), self._text.text
        view.read(text(self._text.released, start))
        return view.fit(text(start - 1, start) if start else "", text(start, end), text(end, end + 1))
