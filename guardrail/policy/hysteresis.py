"""How risk moved: consecutive tokens over a threshold, and whether a watched lane has settled.

Two small memories with one job each. ``Run`` turns scores into findings only when they persist
(debounce, as Qwen3Guard-Stream does with two tokens); ``Watch`` keeps text held until risk has stayed
low for a while, so that a lane does not flicker between holding and releasing.
"""

from __future__ import annotations

from dataclasses import dataclass

from guardrail.core.spans import Span


@dataclass(slots=True)
class Run:
    """Consecutive tokens at or over one threshold."""

    threshold: float
    debounce: int
    count: int = 0
    start: int = 0
    end: int = 0
    last: int = 0
    """Where its last token begins."""
    peak: float = 0.0
    reported: bool = False

    def add(self, score: float, span: Span) -> bool:
        """Take the next token's score; whether the run is confirmed."""
        if score < self.threshold:
            self.count, self.peak = 0, 0.0
            return False
        if self.count == 0:
            self.start = span.start
        self.count += 1
        self.last, self.end = span.start, span.end
        self.peak = max(self.peak, score)
        return self.count >= self.debounce

    def stand(self, score: float, span: Span) -> bool:
        """Take an exact token, which is a confirmed run of its own if it reaches the threshold, and else nothing."""
        if score < self.threshold:
            return False
        self.count, self.peak = self.debounce, score
        self.start, self.end = span.start, span.end
        return True

    @property
    def unconfirmed(self) -> bool:
        """Whether it has begun and is too short to be confirmed."""
        return 0 < self.count < self.debounce

    @property
    def new(self) -> Span:
        """What was not part of it when it was confirmed last: all of it, then its last token."""
        return self.span if self.count <= self.debounce else Span(self.last, self.end)

    @property
    def span(self) -> Span:
        """From the first token of the run to the last."""
        return Span(self.start, self.end)


@dataclass(slots=True)
class Watch:
    """Whether a lane is being watched."""

    settle_tokens: int
    on: bool = False
    calm: int = 0

    def add(self, *, hot: bool, cool: bool) -> bool:
        """Take the next token: ``hot`` over the watch threshold, ``cool`` safely under it."""
        if hot:
            self.on, self.calm = True, 0
        elif self.on:
            self.calm = self.calm + 1 if cool else 0
            self.on = self.calm < self.settle_tokens
        return self.on
