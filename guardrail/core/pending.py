"""``UnjudgedTokens``: what scorers said of text that was not judged yet, and what of it is pending.

A scorer may say that a token is *pending*: what comes may make it part of something longer, a card number
of which the first digits are here. Words from there on are not judged, hence not released, until a later
result no longer says so; by then the whole is a token that begins in earlier text.

Rule 1: tokens are judged in the order of the text, the longer one first, never in the order in which they
    came. So the judge sees the same tokens in the same order however the text was cut (invariant 3).
Rule 2: text waits for a pending token only if something may have to be done about what becomes of it.
Rule 3: each result restates what is pending; of the one before it only what was found counts.

This file does not know how long text may wait, nor what is done when it waited for too long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from guardrail.core.spans import Span
from guardrail.core.verdicts import Judge, Level, TokenScore


class UnjudgedTokens:
    """The tokens of one lane between its scorer and its judge."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._found: deque[TokenScore] = deque()  # in the order in which they will be judged
        self._pending: Sequence[TokenScore] = ()  # what the latest scores called so
        self._passed = 0  # what is pending before it was let go

    def add(self, tokens: Sequence[TokenScore]) -> None:
        """Scores came."""
        self._pending = [token for token in tokens if token.pending]
        self._find([token for token in tokens if not token.pending])

    def take(self, end: int) -> list[TokenScore]:
        """The tokens that begin before ``end``, to be judged now."""
        taken = []
        while self._found and self._found[0].span.start < end:
            taken.append(self._found.popleft())
        return taken

    @property
    def empty(self) -> bool:
        """Whether all tokens were taken, and none is pending."""
        return not (self._found or self._pending)

    def must_wait(self, token: TokenScore) -> bool:
        """Whether text from the token on must wait for what becomes of it."""
        waits = token.pending and token.span.start >= self._passed
        return waits and self._judge.prospect(token) > Level.CLEAR

    @property
    def waited_for(self) -> TokenScore | None:
        """The first token that text must wait for, or None."""
        waiting = filter(self.must_wait, self._pending)
        return min(waiting, key=lambda token: token.span.start, default=None)

    @property
    def waits_at(self) -> int | None:
        """Where text begins that must wait, or None."""
        token = self.waited_for
        return None if token is None else token.span.start

    def settle(self) -> None:
        """Nothing that was pending is any more: it stands as it is."""
        pending, self._pending = self._pending, ()
        self._find(pending)

    def split(self, token: TokenScore, at: int, scored: int) -> None:
        """What was found of a pending token stands, as far as position ``at``; up to ``scored`` goes on to wait."""
        unknown = dict.fromkeys(token.scores, 0.0)
        rest = TokenScore(Span(at, scored), unknown, pending=True)
        self._pending = [rest, *(other for other in self._pending if other.span.start >= at)]
        self._find([TokenScore(Span(token.span.start, at), token.scores, exact=token.exact)])

    def let_go(self, end: int) -> None:
        """What is pending stands as it is, and no text before ``end`` will wait again."""
        self._passed = end
        self.settle()

    def _find(self, tokens: Sequence[TokenScore]) -> None:
        if tokens:
            # The longer one first: what stands inside of it is judged when its fate is known.
            in_order = sorted((*self._found, *tokens), key=lambda t: (t.span.start, -t.span.end))
            self._found = deque(in_order)
