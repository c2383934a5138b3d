"""What must be done: imperatives, answered by ``GuardedStream.handle`` and carried out by a driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from guardrail.core.composition import Resource
from guardrail.core.spans import Span
from guardrail.core.verdicts import Decision, FailureStance, Finding


@dataclass(frozen=True, slots=True)
class ScoreText:
    """Score this text; answer with ``ScoresReceived`` or ``ScoringFailed``. One at a time is out."""

    span: Span
    text: str
    tentative: bool = False
    """The word is still open: score it, but continue from before it next time."""


@dataclass(frozen=True, slots=True)
class ReleaseText:
    """This upstream text goes to the client now; it continues what was released or masked before."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class ComposeInsert:
    """Find the words for this decision; answer with ``InsertComposed``. One at a time is out."""

    decision: Decision
    at: int
    """Its place in the upstream's text: what stands before was released or masked."""
    at_start: bool = False
    """The client has read nothing yet."""


@dataclass(frozen=True, slots=True)
class InsertText:
    """Our own text goes to the client now, joined to what it has read."""

    decision: Decision
    at: int
    text: str
    """With its joining white space and closing marks."""
    wording: str
    resources: Sequence[Resource] = field(default=())
    withheld: int = 0
    """Code points of upstream text, from ``at`` on, that it stands for; ``WithholdText`` follows."""


@dataclass(frozen=True, slots=True)
class WithholdText:
    """This upstream text, which continues what was released, never goes to the client; what is behind it may."""

    span: Span


@dataclass(frozen=True, slots=True)
class NoteDecision:
    """A decision that changes nothing in the text: annotate, or any in observe mode."""

    decision: Decision
    at: int
    enforced: bool


@dataclass(frozen=True, slots=True)
class NoteFindings:
    """New findings."""

    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class NoteFailure:
    """Scoring failed or is late, and this is what the policy says."""

    reason: str
    stance: FailureStance
    span: Span
    """The text concerned."""


@dataclass(frozen=True, slots=True)
class NoteUnscanned:
    """This much text reached the client without a score, or before it."""

    chars: int
    reason: str
    """As in ``ScoringFailed``; "late": it left before its scores, which may still come."""


@dataclass(frozen=True, slots=True)
class WakeAfter:
    """Send ``Woken`` after this delay; replaces the lane's earlier timer."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class EndLane:
    """Nothing more will come from this lane."""

    intervened: bool
    """True: an intervention ended it, whatever the upstream still sends."""


Command = (
    ScoreText
    | ReleaseText
    | ComposeInsert
    | InsertText
    | WithholdText
    | NoteDecision
    | NoteFindings
    | NoteFailure
    | NoteUnscanned
    | WakeAfter
    | EndLane
)
