"""What a driver hands its transport, in the order in which it must reach the client.

Transports turn these into bytes of their protocol. ``Released`` spans of a lane are in order, and
contiguous but for what masks stand for; an ``Inserted`` stands exactly between what was released before it
and after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from guardrail.core.composition import Resource
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Finding


@dataclass(frozen=True, slots=True)
class StreamOpening:
    """What is known when a guarded stream begins."""

    stream_id: str
    transport: str
    dialect: str
    conversation: Sequence[Turn]
    """All turns of the request, oldest first; the last is usually the user's."""
    locale: str = ""
    """BCP 47 tag, or "" to use the policy's default."""
    tenant: str = ""
    mode: str = ""
    """"enforce" or "observe", or "" for the policy's; a request may only ask for the stricter one."""
    lanes: int = 1
    """How many lanes the answer will have (``n`` of a chat completion), so that the upstream is stopped
    only when all of them were ended."""
    structured: bool = False
    """The answer must be JSON: help that would be inserted is only noted; replacing still ends the answer."""
    unscanned: Mapping[str, int] = field(default_factory=dict)
    """Request parts that cannot be scored (images, tool results): what to code points or parts."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """One intervention as it was applied."""

    kind: str
    category: str
    severity: int
    score: float
    at: int
    """Its place in the lane's upstream text: what stands before was released or masked."""
    text: str
    """The exact inserted text, joining white space included; "" for annotate."""
    wording: str
    """Which template and variant, e.g. "en/redirect/self_harm/2"."""
    resources: Sequence[Resource]
    rationale: str
    enforced: bool
    withheld: int = 0
    """Code points of upstream text, from ``at`` on, that a mask's words stand for; ``Withheld`` follows."""


@dataclass(frozen=True, slots=True)
class Released:
    """Upstream text of a lane may reach the client."""

    lane: str
    text: str
    end: int
    """Where it ends in the lane's upstream text."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """Our own text goes to the client here (or, annotate and observe mode: is only reported)."""

    lane: str
    intervention: Intervention


@dataclass(frozen=True, slots=True)
class Withheld:
    """Upstream text of a lane, for which words of ours stand, will never reach the client."""

    lane: str
    end: int
    """Where it ends in the lane's upstream text; it continues what was released."""


@dataclass(frozen=True, slots=True)
class FindingNoted:
    """A finding, for metadata."""

    lane: str
    """Lane name, or "user" for the prompt."""
    finding: Finding


@dataclass(frozen=True, slots=True)
class LaneClosed:
    """Nothing more will come on this lane."""

    lane: str
    intervened: bool
    """True when an intervention ended it: what the upstream still sends on it is dropped."""
    withheld: int
    """Code points that arrived and were never released."""
    finish_reason: str = ""
    """The finish reason the policy wants for an intervened lane, else ""."""


@dataclass(frozen=True, slots=True)
class UpstreamStopped:
    """Every lane was ended by interventions: the upstream generates for nobody; reset it."""


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The last output of a stream."""

    outcome: str
    """As in ``observer.StreamEnded``."""
    arrived: int
    released: int
    withheld: int
    inserted: int
    unscanned: Mapping[str, int]
    """Where text stood that nobody scored, to its code points (invariant 7)."""


Output = Released | Inserted | Withheld | FindingNoted | LaneClosed | UpstreamStopped | StreamClosed
