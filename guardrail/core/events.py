"""What happened on a lane: past participles, told to ``GuardedStream.handle``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.core.composition import Composition
from guardrail.core.verdicts import Decision, TokenScore


@dataclass(frozen=True, slots=True)
class PromptJudged:
    """The user's side has been judged; until then nothing is scored or, in enforce mode, released."""

    decisions: Sequence[Decision] = ()
    """What the policy wants done in the answer because of the prompt."""


@dataclass(frozen=True, slots=True)
class ChunkReceived:
    """Text arrived from the upstream; where it was cut carries no meaning."""

    text: str


@dataclass(frozen=True, slots=True)
class LaneFinished:
    """The upstream has finished the lane: no more text will come."""


@dataclass(frozen=True, slots=True)
class ScoresReceived:
    """The answer to the last ``ScoreText``: its tokens in order, spans in lane positions.

    Tokens may begin in earlier text that was said to be pending.
    """

    tokens: Sequence[TokenScore]


@dataclass(frozen=True, slots=True)
class ScoringDelayed:
    """The last ``ScoreText`` passed its deadline; its scores may still come."""

    reason: str = "late"


@dataclass(frozen=True, slots=True)
class ScoringFailed:
    """The last ``ScoreText`` will get no scores."""

    reason: str
    """"error", "late" or "overload"."""


@dataclass(frozen=True, slots=True)
class InsertComposed:
    """The words asked for by the last ``ComposeInsert``."""

    composition: Composition


@dataclass(frozen=True, slots=True)
class Woken:
    """The timer set by the last ``WakeAfter`` fired."""


Event = (
    PromptJudged
    | ChunkReceived
    | LaneFinished
    | ScoresReceived
    | ScoringDelayed
    | ScoringFailed
    | InsertComposed
    | Woken
)
