"""What the sidecar tells the world about its work: frozen records, and the ``Observer`` who gets them.

Telemetry and audit implement ``Observer``; nothing here imports them. Records carry lengths, positions,
counts and our own inserted text, never user or model text (invariant 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from guardrail.core.composition import Resource


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A guarded stream began."""

    stream_id: str
    transport: str
    """"ext_proc", "grpc" or "replay"."""
    dialect: str
    """"chat_completions", "native" ..."""
    tenant: str
    policy: str
    mode: str
    """"enforce" or "observe"."""
    locale: str = ""


@dataclass(frozen=True, slots=True)
class FindingReported:
    """A score passed its threshold."""

    stream_id: str
    lane: str
    role: str
    category: str
    severity: int
    score: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class InterventionApplied:
    """The client's stream was changed, or in observe mode would have been."""

    stream_id: str
    lane: str
    kind: str
    category: str
    severity: int
    score: float
    at: int
    """Its place in the upstream's text: what stands before was released or masked."""
    text: str
    """Our own inserted text."""
    wording: str
    resources: Sequence[Resource]
    rationale: str
    enforced: bool
    """False in observe mode: nothing reached the client."""
    time_held_s: float = 0.0
    """Seconds between the decision and the insert."""
    withheld_chars: int = 0
    """Code points of upstream text that a mask's words stand for."""


@dataclass(frozen=True, slots=True)
class ScoringFailed:
    """Text could not be scored and the policy's stance was followed."""

    stream_id: str
    lane: str
    reason: str
    """"error", "late", "overload", or "pending": text that waited too long for what it is part of."""
    stance: str
    """"pass", "hold" or "redirect"."""
    chars: int


@dataclass(frozen=True, slots=True)
class SegmentScored:
    """One segment came back from the scorer."""

    stream_id: str
    lane: str
    tokens: int
    chars: int
    latency_s: float
    """Seconds from handing it to the scorer to its scores."""


@dataclass(frozen=True, slots=True)
class TextUnscanned:
    """Text went by that nobody scored (invariant 7)."""

    stream_id: str
    what: str
    """Where it stood: "tool_calls", "reasoning", "image", "failure", "body_too_large", "unknown_path" ..."""
    chars: int


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """A guarded stream ended, whatever the reason."""

    stream_id: str
    outcome: str
    """"completed", "intervened", "cancelled" (client left), "upstream_error", "error"."""
    lanes: int
    arrived_chars: int
    released_chars: int
    withheld_chars: int
    inserted_chars: int
    interventions: int
    unscanned: Mapping[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    exposure_chars: int = 0
    """Observe mode: characters of findings' spans that the client got."""


@dataclass(frozen=True, slots=True)
class EngineReached:
    """Scoring is possible from now on: the engine runs, in this process or in another."""

    scorer: str
    provider: str
    """"cpu" or "cuda"."""
    away_s: float = 0.0
    """Seconds since it was lost; 0 at the start."""


@dataclass(frozen=True, slots=True)
class EngineLost:
    """The engine in another process went away; scoring fails until it is reached again."""

    scorer: str
    provider: str
    reason: str
    """"unavailable", "deadline", "mismatch" ..."""


Record = (
    StreamOpened
    | FindingReported
    | InterventionApplied
    | ScoringFailed
    | SegmentScored
    | TextUnscanned
    | StreamEnded
    | EngineReached
    | EngineLost
)


class Observer(Protocol):
    """Whoever wants to know. Must not block and must not raise."""

    def record(self, record: Record) -> None:
        """Take note of one record."""
        ...


class SilentObserver:
    """Takes no note: for tests and offline commands."""

    def record(self, record: Record) -> None:
        """Forget it."""
