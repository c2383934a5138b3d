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
    """Text arrived on a lane. Lanes open by themselves: the first word of one is its first event."""

    lane: str
    """Lane name, e.g. "choice/0"."""
    text: str
    """Never empty; a lone surrogate stands as U+FFFD, so that it can be encoded and counts the same."""


@dataclass(frozen=True, slots=True)
class LaneFinished:
    """The upstream finished a lane (its finish reason came, or the stream ended without one).

    Reported once a lane, also for a lane that never had any text (an answer of tool calls alone).
    """

    lane: str


@dataclass(frozen=True, slots=True)
class Unscanned:
    """The upstream sent text that this dialect does not offer for scoring (invariant 7)."""

    what: str
    """Where it stood: "tool_calls", "reasoning", "refusal", "malformed" ...; a closed set of words."""
    chars: int
    """Code points, or bytes where the text could not be read."""


WireEvent = LaneText | LaneFinished | Unscanned


@dataclass(frozen=True, slots=True)
class GuardedRequest:
    """What a request body says of the stream to come."""

    conversation: Sequence[Turn]
    stream: bool
    """Whether the answer will be a token stream."""
    include_usage: bool
    """Whether the client wants a final usage chunk."""
    choices: int = 1
    """How many choices were asked for (``n``): that many lanes, the last of which may open late."""
    unscanned: Mapping[str, int] = field(default_factory=dict)
    """Parts of the request that cannot be scored (images, audio, tool calls ...), to code points or parts."""
    structured: bool = False
    """Whether the answer must be JSON, where nothing can be inserted without breaking it."""
    model: str = ""
    """The model asked for, to be named where we must write a chunk before the upstream wrote one."""


class ResponseStream(Protocol):
    """One response body under guard.

    The order of calls is ``feed`` (each time followed by ``drain``), ``end`` when the upstream ended by
    itself, in between ``release``, ``insert`` and ``close`` as the driver says, and ``finish`` last.
    Every method that answers bytes answers all that may leave by then; the caller sends them as they are.
    """

    def feed(self, data: bytes) -> list[WireEvent]:
        """Take upstream bytes, cut anywhere; what they said, in order."""
        ...

    def end(self) -> list[WireEvent]:
        """The upstream body ended; lanes it left unfinished are reported finished."""
        ...

    def drain(self) -> bytes:
        """What may leave without waiting for any release: comments, roles, tool calls between texts ..."""
        ...

    def release(self, lane: str, end: int) -> bytes:
        """The lane's text may go out up to code point ``end``; the bytes that may now be sent.

        Releases only ever extend what was released or withheld: no text is skipped.
        """
        ...

    def insert(self, lane: str, text: str, metadata: Mapping[str, object]) -> bytes:
        """Our own text, right after what the lane has released; the bytes that may now be sent."""
        ...

    def withhold(self, lane: str, end: int) -> bytes:
        """The lane's text up to code point ``end`` that was not released never leaves; what follows may."""
        ...

    def close(self, lane: str, *, intervened: bool, finish_reason: str) -> bytes:
        """Nothing more will be released on the lane; what it still holds never leaves.

        Args:
            lane: the lane's name.
            intervened: an intervention ended it. Its own end is written, and whatever the upstream still
                sends on it is dropped; otherwise the upstream's own end of the lane may leave.
            finish_reason: what the end written for an intervention says; "" is the dialect's usual one.
        """
        ...

    def finish(self) -> bytes:
        """All lanes are closed and the stream ends here: whatever the protocol still expects.

        A lane nobody closed is closed as it stands: text that was not released does not leave.
        """
        ...
