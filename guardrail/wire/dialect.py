"""What every wire dialect offers a transport: bytes to lane text, outputs to bytes. Sans-io.

A dialect keeps the upstream's own bytes and gives them back untouched once the text they carry was
released (invariant 4); it writes bytes of its own only around an intervention. It never decides
anything and never holds text for longer than it is told to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from guardrail.core.conversation import Turn


@dataclass(frozen=True, slots=True)
class LaneText:
    """Text arrived on a lane."""

    lane: str
    text: str


@dataclass(frozen=True, slots=True)
class LaneFinished:
    """The upstream finished a lane (its finish reason came)."""

    lane: str


@dataclass(frozen=True, slots=True)
class Unscanned:
    """The upstream sent text that this dialect does not offer for scoring."""

    what: str
    """Where it stood: "tool_calls", "reasoning", "refusal", "malformed" ..."""
    chars: int


WireEvent = LaneText | LaneFinished | Unscanned


@dataclass(frozen=True, slots=True)
class GuardedRequest:
    """What a request body says of the stream to come."""

    conversation: Sequence[Turn]
    stream: bool
    """Whether the answer will be a token stream."""
    include_usage: bool
    """Whether the client wants a final usage chunk."""
    unscanned: Mapping[str, int] = field(default_factory=dict)
    """Parts of the request that cannot be scored: images, audio, tool calls ..."""


class ResponseStream(Protocol):
    """One response body under guard."""

    def feed(self, data: bytes) -> list[WireEvent]:
        """Take upstream bytes, cut anywhere; what they said, in order."""
        ...

    def end(self) -> list[WireEvent]:
        """The upstream body ended; lanes it left unfinished are reported finished."""
        ...

    def release(self, lane: str, end: int) -> bytes:
        """The lane's text may go out up to code point ``end``; the bytes that may now be sent."""
        ...

    def insert(self, lane: str, text: str, metadata: Mapping[str, object]) -> bytes:
        """Our own text, right after what the lane has released; the bytes that may now be sent."""
        ...

    def close(self, lane: str, *, intervened: bool, finish_reason: str) -> bytes:
        """Nothing more will be released on the lane. Intervened: its own end is written."""
        ...

    def finish(self) -> bytes:
        """All lanes are closed and the stream ends here: whatever the protocol still expects."""
        ...
