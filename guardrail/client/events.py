"""What a guarded stream tells its client, as plain frozen data: no protobuf leaves this package.

Positions and lengths are code points of a lane's upstream text; spans are half open. Fields say what
guardrail.proto says; this file adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from guardrail._pb import guardrail_pb2 as pb


@dataclass(frozen=True, slots=True)
class Opened:
    """What is in force on this stream."""

    stream_id: str
    policy: str
    mode: str
    """"enforce" or "observe"."""
    pack: str
    """Name and version of the classifier pack that scores."""


@dataclass(frozen=True, slots=True)
class Released:
    """Upstream text to show."""

    lane: str
    text: str
    end: int
    """Code points of the lane released so far, this text included."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A place where help is, as offered in an intervention's text."""

    id: str
    name: str
    country: str
    """ISO 3166-1 alpha-2, or "" for international."""
    contact: str
    """Phone, text, chat or web, as shown."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something was done, or in observe mode would have been."""

    lane: str
    kind: str
    """"annotate", "guide", "mask", "redirect", "rewrite", "steer", "replace" or "stop"."""
    category: str
    severity: int
    """0 (none) to 3 (acute)."""
    score: float
    """Risk score, [0, 1]."""
    at: int
    """Its place in the lane's upstream text: what stands before was released or masked."""
    text: str
    """The words to show here if ``enforced``; may be empty."""
    resources: Sequence[Resource]
    rationale: str
    enforced: bool
    """False in observe mode: ``text`` must not be shown."""
    wording: str = ""
    """Which template and variant the words come from, for records."""
    withheld: int = 0
    """A mask's: code points of upstream text, from ``at`` on, that its words stand for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A risk score passed its threshold; nothing to show."""

    lane: str
    """"user" for the prompt."""
    role: str
    """Whose turn it stands in: "user" or "assistant"."""
    category: str
    severity: int
    """1 (mild) to 3 (acute)."""
    score: float
    """Risk score, [0, 1]."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LaneClosed:
    """Nothing more will come on a lane."""

    lane: str
    intervened: bool
    """An intervention ended it: what is still sent on it is dropped."""
    withheld: int
    """Code points that arrived and were never released."""
    finish_reason: str
    """The finish reason the policy wants shown for an intervened lane, else ""."""


@dataclass(frozen=True, slots=True)
class StopUpstream:
    """Stop the model: nobody waits for the rest."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The stream's account, its last event; lengths are sums over all lanes."""

    outcome: str
    """"completed", "intervened", "cancelled", "upstream_error" or "error"."""
    arrived: int
    released: int
    withheld: int
    inserted: int
    unscanned: Mapping[str, int]
    """Where text or parts stood that nobody scored, to how much."""


Event = Opened | Released | Intervention | Finding | LaneClosed | StopUpstream | Summary


@dataclass(frozen=True, slots=True)
class TokenScore:
    """The risk scores of one classifier token."""

    start: int
    end: int
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Score:
    """What a guarded stream would have seen in a text."""

    max: Mapping[str, float]
    """Category to the highest risk score of any token, [0, 1]."""
    flagged: bool
    category: str
    """Of the gravest finding; "" when not flagged."""
    severity: int
    """Of the gravest finding; 0 when not flagged."""
    onset: int | None
    """Code point at which the gravest finding begins."""
    pack: str
    policy: str
    tokens: Sequence[TokenScore] = field(default=())
    """Every classifier token, if asked for."""


def _words(prefix: str, values: Mapping[str, int]) -> Mapping[int, str]:
    """An enum's values to the words this package uses for them: names in lower case, without prefix."""
    return {value: name.removeprefix(prefix).lower() for name, value in values.items() if value}


_MODES = _words("MODE_", dict(pb.Mode.items()))
_ROLES = _words("ROLE_", dict(pb.Role.items()))
_KINDS = _words("INTERVENTION_KIND_", dict(pb.InterventionKind.items()))
_OUTCOMES = _words("OUTCOME_", dict(pb.Outcome.items()))


def event(response: pb.GuardResponse) -> Event | None:
    """The event in ``response``; None when it is of a kind this client is too old to know."""
    match response.WhichOneof("response"):
        case "opened":
            opened = response.opened
            mode = _MODES.get(opened.mode, "")
            return Opened(opened.stream_id, opened.policy, mode, opened.pack)
        case "released":
            return Released(response.released.lane, response.released.text, response.released.end)
        case "intervention":
            return _intervention(response.intervention)
        case "finding":
            found = response.finding
            return Finding(
                lane=found.lane,
                role=_ROLES.get(found.role, ""),
                category=found.category,
                severity=found.severity,
                score=found.score,
                start=found.start,
                end=found.end,
            )
        case "lane_closed":
            closed = response.lane_closed
            return LaneClosed(closed.lane, closed.intervened, closed.withheld, closed.finish_reason)
        case "stop_upstream":
            return StopUpstream()
        case "summary":
            summary = response.summary
            return Summary(
                outcome=_OUTCOMES.get(summary.outcome, ""),
                arrived=summary.arrived,
                released=summary.released,
                withheld=summary.withheld,
                inserted=summary.inserted,
                unscanned=dict(summary.unscanned),
            )
        case _:
            return None


def score(response: pb.ScoreResponse) -> Score:
    """``response`` as plain data."""
    return Score(
        max=dict(response.max),
        flagged=response.flagged,
        category=response.category,
        severity=response.severity,
        onset=response.onset if response.HasField("onset") else None,
        pack=response.pack,
        policy=response.policy,
        tokens=tuple(TokenScore(token.start, token.end, dict(token.scores)) for token in response.tokens),
    )


def _intervention(message: pb.Intervention) -> Intervention:
    return Intervention(
        lane=message.lane,
        kind=_KINDS.get(message.kind, ""),
        category=message.category,
        severity=message.severity,
        score=message.score,
        at=message.at,
        text=message.text,
        resources=tuple(
            Resource(help_.id, help_.name, help_.country, help_.contact) for help_ in message.resources
        ),
        rationale=message.rationale,
        enforced=message.enforced,
        wording=message.wording,
        withheld=message.withheld,
    )
