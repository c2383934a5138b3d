"""What scorers say and what judges conclude. A verdict changes nothing: ``stream`` acts on it.

The ladder of interventions (``Kind``) runs from least to most intrusive; comparing two kinds compares
their intrusiveness, which is what floors and ceilings of a policy mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from guardrail.core.spans import Span


class Role(StrEnum):
    """Who speaks in a turn of the conversation."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Kind(IntEnum):
    """An intervention, ordered from least to most intrusive."""

    ALLOW = 0
    """Nothing is done."""
    ANNOTATE = 1
    """Metadata only; the text is untouched."""
    GUIDE = 2
    """Guidance is added to the request before generation."""
    MASK = 3
    """An exact span is withheld, a few words name what stood there; the text around it is untouched."""
    REDIRECT = 4
    """Help is inserted and the answer goes on."""
    REWRITE = 5
    """The risky span is withheld and replaced; the answer goes on."""
    STEER = 6
    """The upstream is stopped and a rewriter model goes on under a constructive plan."""
    REPLACE = 7
    """The upstream is stopped and the answer is ended constructively."""
    STOP = 8
    """The upstream is stopped and the answer ends without words; only where a policy names it."""

    @property
    def label(self) -> str:
        """The word used in policies, messages and records: the member's name in lower case."""
        return self.name.lower()


class Level(IntEnum):
    """How a lane stands after a token."""

    CLEAR = 0
    """Nothing near a threshold: text may be released as soon as it is cleared."""
    WATCH = 1
    """Risk passed the watch threshold: release falls back to the last sentence boundary."""
    ACT = 2
    """A decision was reached: the lane must intervene."""


class FailureStance(StrEnum):
    """What happens to text that could not be scored; always named by the policy."""

    PASS = "pass"  # noqa: S105 - a stance, not a secret
    """Release it unscored as soon as its score is late, and say so."""
    HOLD = "hold"
    """Keep it until the stream ends; what was never scored is withheld and the answer ended constructively."""
    REDIRECT = "redirect"
    """End the answer constructively where it was last cleared, as soon as its score is given up on."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """The risk scores of one classifier token."""

    span: Span
    """The token's place in its turn's text, code points."""
    scores: Mapping[str, float]
    """Category to calibrated risk score in [0, 1]; it says nothing of a category it leaves out, unless it
    leaves out all of them: then each is 0."""
    pending: bool = False
    """More text may still make it, or make it part of, something longer: text from its start on may not
    leave. Each result restates what is pending; a later one may hold the whole, beginning in earlier text.
    At the end of a turn nothing is pending: the scores stand as they are."""
    exact: bool = False
    """An entity with its own span: it stands for itself, wherever in a sentence, and waits for no second token."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A risk score over its threshold."""

    category: str
    severity: int
    """1 (mild) to 3 (acute)."""
    score: float
    """Calibrated risk score, [0, 1]."""
    span: Span
    """Where: from the first token of the run over the threshold to the token that confirmed it."""
    role: Role
    """Whose turn it was found in."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy wants done about a finding."""

    kind: Kind
    finding: Finding
    rationale: str
    """Why, for the audit record: rule, threshold, limit. Never contains user or model text."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's conclusion about one token, or about a whole prompt."""

    level: Level = Level.CLEAR
    decision: Decision | None = None
    """What should be done now; ``level`` is ACT when it is more than an annotation."""
    masks: Sequence[Decision] = field(default=())
    """Spans to withhold, whatever else is done; each decision's finding says which."""
    findings: Sequence[Finding] = field(default=())
    """New findings, for observers; reported once each."""
    pending_at: int | None = None
    """Where a risk begins that is over its threshold and not yet confirmed; text from there on stays
    held, however much is held already."""


CLEAR_VERDICT = Verdict()


class Judge(Protocol):
    """The policy as one lane sees it: pure and deterministic, with memory of this lane only."""

    def judge(self, token: TokenScore) -> Verdict:
        """The verdict on the next token of the lane; tokens come once each, in order."""
        ...

    def passes(self, tokens: Sequence[TokenScore]) -> bool:
        """Whether judging ``tokens`` would give nothing but CLEAR and leave the judge as it is.

        True may be missed, never said in error: it spares the judging.
        """
        ...

    def finish(self) -> Verdict:
        """The verdict when no token will follow: a risk that was waiting to be confirmed stands."""
        ...

    def would_clear(self, tokens: Sequence[TokenScore]) -> bool:
        """Whether ``tokens``, scored tentatively, would all be CLEAR. Changes nothing in the judge."""
        ...

    def prospect(self, token: TokenScore) -> Level:
        """What a pending token may come to. Changes nothing in the judge.

        Returns:
            CLEAR: whatever becomes of it, the text stays as it is. WATCH: something may have to be done,
            once it is more than it is now. ACT: as it stands.
        """
        ...

    def failure(self, reason: str) -> tuple[FailureStance, Decision]:
        """The policy's stance when text cannot be scored, and the decision REDIRECT would carry out."""
        ...
