"""Spans: half-open intervals of code points of one lane's upstream text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The interval ``[start, end)``, in code points of the text as the upstream sent it."""

    start: int
    """First code point of the interval."""
    end: int
    """One past the last code point; never before ``start``."""

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            msg = f"a span needs 0 <= start <= end, got [{self.start}, {self.end})"
            raise ValueError(msg)

    def __len__(self) -> int:
        return self.end - self.start

    def shift(self, offset: int) -> Span:
        """The same interval, ``offset`` code points further on."""
        return Span(self.start + offset, self.end + offset)
