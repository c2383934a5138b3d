"""``guardrail.v1`` messages from and to the package's own types, with the limits the protocol states.

Everything a client may get wrong in one message is refused here, by the field's name and never with
its text. It does no I/O, and what a message leads to is not its business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import assert_never

from guardrail._pb import guardrail_pb2 as pb
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Finding, Kind, Role
from guardrail.errors import InputError
from guardrail.transports.assessment import Assessment
from guardrail.transports.driver import USER_LANE
from guardrail.transports.outputs import (
    FindingNoted,
    Inserted,
    Intervention,
    LaneClosed,
    Output,
    Released,
    StreamClosed,
    StreamOpening,
    UpstreamStopped,
    Withheld,
)

# The limits stand in guardrail.proto, too: a client may rely on them.
MAX_TURNS = 1024
MAX_LANES = 128  # a stream may open in its life; OpenAI-compatible servers allow n = 128 choices
MAX_CHUNK_CHARS = 65_536
MAX_SCORE_CHARS = 1_048_576
MAX_UNSCANNED_ENTRIES = 64
MAX_NAME_CHARS = 128
MAX_LOCALE_CHARS = 64


_STREAM_ID = re.compile(r"[A-Za-z0-9\-_.:/@+]*")
_LOCALE = re.compile(r"[A-Za-z0-9\-_]*")
_UINT32_MAX = 2**32 - 1

_ROLES = {
    pb.ROLE_SYSTEM: Role.SYSTEM,
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
}
_ROLE_VALUES = {role: value for value, role in _ROLES.items()}
_MODES = {pb.MODE_UNSPECIFIED: "", pb.MODE_ENFORCE: "enforce", pb.MODE_OBSERVE: "observe"}
_MODE_VALUES = {mode: value for value, mode in _MODES.items()}
_KIND_VALUES = {
    kind.label: pb.InterventionKind.Value(f"INTERVENTION_KIND_{kind.name}")
    for kind in Kind
    if kind is not Kind.ALLOW
}
_OUTCOME_VALUES = {
    "completed": pb.OUTCOME_COMPLETED,
    "intervened": pb.OUTCOME_INTERVENED,
    "cancelled": pb.OUTCOME_CANCELLED,
    "upstream_error": pb.OUTCOME_UPSTREAM_ERROR,
    "error": pb.OUTCOME_ERROR,
}


def stream_opening(message: pb.Open, stream_id: str) -> StreamOpening:
    """What ``message`` says of the stream to come.

    Args:
        message: the client's.
        stream_id: used when the client chose none.

    Raises:
        InputError: names the first field that breaks a limit.
    """
    _bounded("open.stream_id", message.stream_id, MAX_NAME_CHARS)
    _bounded("open.locale", message.locale, MAX_LOCALE_CHARS)
    _bounded("open.tenant", message.tenant, MAX_NAME_CHARS)
    _bounded("open.policy", message.policy, MAX_NAME_CHARS)
    if not _STREAM_ID.fullmatch(message.stream_id):
        raise InputError("open.stream_id", "only letters, digits and -_.:/@+ are allowed")
    if not _LOCALE.fullmatch(message.locale):
        raise InputError("open.locale", "not a BCP 47 tag")
    if message.mode not in _MODES:
        raise InputError("open.mode", f"unknown mode {message.mode}")
    if message.lanes > MAX_LANES:
        raise InputError("open.lanes", f"{message.lanes} lanes, {MAX_LANES} are allowed")
    if len(message.unscanned) > MAX_UNSCANNED_ENTRIES:
        raise InputError("open.unscanned", f"more than {MAX_UNSCANNED_ENTRIES} entries")
    for what in message.unscanned:
        _bounded("open.unscanned", what, MAX_NAME_CHARS)
    return StreamOpening(
        stream_id=message.stream_id or stream_id,
        transport="grpc",
        dialect="native",
        conversation=turns("open.conversation", message.conversation),
        locale=message.locale,
        tenant=message.tenant,
        mode=_MODES[message.mode],
        lanes=message.lanes or 1,
        unscanned=dict(message.unscanned),
    )


def turns(where: str, messages: Sequence[pb.Turn]) -> tuple[Turn, ...]:
    """The turns of a conversation.

    Raises:
        InputError: there are too many, or one says not who speaks; ``where`` is the field's name.
    """
    if len(messages) > MAX_TURNS:
        raise InputError(where, f"{len(messages)} turns, {MAX_TURNS} are allowed")
    for index, turn in enumerate(messages):
        if turn.role not in _ROLES:
            raise InputError(f"{where}[{index}].role", f"unknown role {turn.role}")
    return tuple(Turn(_ROLES[turn.role], turn.text) for turn in messages)


def scored_role(message: pb.ScoreRequest) -> Role:
    """Whose words are to be scored; the model's unless the request says otherwise.

    Raises:
        InputError: the role is unknown, or the text too long.
    """
    if len(message.text) > MAX_SCORE_CHARS:
        raise InputError("text", f"{len(message.text)} code points, {MAX_SCORE_CHARS} are allowed")
    if message.role == pb.ROLE_UNSPECIFIED:
        return Role.ASSISTANT
    if message.role not in _ROLES:
        raise InputError("role", f"unknown role {message.role}")
    return _ROLES[message.role]


def lane_name(where: str, lane: str) -> str:
    """``lane``, if a lane may be called so.

    Raises:
        InputError: it may not; ``where`` is the field's name.
    """
    if lane == USER_LANE:  # findings in the prompt are reported under it
        raise InputError(where, f"{USER_LANE!r} is kept for the prompt")
    _bounded(where, lane, MAX_NAME_CHARS)
    return lane


def chunk_text(message: pb.Chunk) -> str:
    """The text of a chunk.

    Raises:
        InputError: it is too long.
    """
    _bounded("chunk.text", message.text, MAX_CHUNK_CHARS)
    return message.text


def opened(stream_id: str, policy: str, mode: str, pack: str) -> pb.GuardResponse:
    """The first message of a stream."""
    message = pb.Opened(stream_id=stream_id, policy=policy, mode=_MODE_VALUES[mode], pack=pack)
    return pb.GuardResponse(opened=message)


def response(output: Output) -> pb.GuardResponse | None:
    """``output`` as the client gets it; None where it need not be told."""
    match output:
        case Released(lane, text, end):
            return pb.GuardResponse(released=pb.Released(lane=lane, text=text, end=end))
        case Inserted(lane, intervention):
            return pb.GuardResponse(intervention=_intervention(lane, intervention))
        case FindingNoted(lane, finding):
            return pb.GuardResponse(finding=_finding(lane, finding))
        case LaneClosed(lane, intervened, withheld, finish_reason):
            lane_closed = pb.LaneClosed(
                lane=lane, intervened=intervened, withheld=withheld, finish_reason=finish_reason
            )
            return pb.GuardResponse(lane_closed=lane_closed)
        case Withheld():
            return None
        case UpstreamStopped():
            return pb.GuardResponse(stop_upstream=pb.StopUpstream())
        case StreamClosed():
            return pb.GuardResponse(summary=_summary(output))
        case _ as unreachable:
            assert_never(unreachable)


def score_response(
    assessment: Assessment, *, include_tokens: bool, pack: str, policy: str
) -> pb.ScoreResponse:
    """The answer to a ``Score`` call."""
    message = pb.ScoreResponse(max=assessment.max, pack=pack, policy=policy)
    gravest = assessment.gravest
    if gravest is not None:
        message.flagged = True
        message.category, message.severity = gravest.category, gravest.severity
        message.onset = gravest.span.start
    if include_tokens:
        message.tokens.extend(
            pb.TokenScore(start=token.span.start, end=token.span.end, scores=token.scores)
            for token in assessment.tokens
        )
    return message


def _intervention(lane: str, intervention: Intervention) -> pb.Intervention:
    resources = [
        pb.Resource(id=resource.id, name=resource.name, country=resource.country, contact=resource.contact)
        for resource in intervention.resources
    ]
    return pb.Intervention(
        lane=lane,
        kind=_KIND_VALUES[intervention.kind],
        category=intervention.category,
        severity=intervention.severity,
        score=intervention.score,
        at=intervention.at,
        text=intervention.text,
        resources=resources,
        rationale=intervention.rationale,
        enforced=intervention.enforced,
        wording=intervention.wording,
        withheld=intervention.withheld,
    )


def _finding(lane: str, finding: Finding) -> pb.Finding:
    return pb.Finding(
        lane=lane,
        role=_ROLE_VALUES[finding.role],
        category=finding.category,
        severity=finding.severity,
        score=finding.score,
        start=finding.span.start,
        end=finding.span.end,
    )


def _summary(closed: StreamClosed) -> pb.Summary:
    return pb.Summary(
        outcome=_OUTCOME_VALUES[closed.outcome],
        arrived=closed.arrived,
        released=closed.released,
        withheld=closed.withheld,
        inserted=closed.inserted,
        unscanned=_counts(closed.unscanned),
    )


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    # The client's own numbers are added up in here: a sum that does not fit must not end the stream.
    return {what: min(count, _UINT32_MAX) for what, count in counts.items()}


def _bounded(where: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise InputError(where, f"{len(text)} code points, {limit} are allowed")
