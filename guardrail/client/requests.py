"""What a client says, as protobuf: shared by the asyncio and the blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict, Unpack

from guardrail._pb import guardrail_pb2 as pb
from guardrail.errors import InputError

Conversation = Iterable[tuple[str, str]]
"""Turns before the answer, oldest first: ("system", "user" or "assistant", text)."""

_ROLES = {"system": pb.ROLE_SYSTEM, "user": pb.ROLE_USER, "assistant": pb.ROLE_ASSISTANT}
_MODES = {"": pb.MODE_UNSPECIFIED, "enforce": pb.MODE_ENFORCE, "observe": pb.MODE_OBSERVE}

# The protocol's bound of one Chunk; longer text is cut here, where no cut carries a meaning.
_MAX_CHUNK_CHARS = 65_536


class OpeningOptions(TypedDict, total=False):
    """What a stream may be told when it begins; everything is optional."""

    locale: str
    """BCP 47 tag of the user ("de-AT"); its region decides which country's help is offered."""
    tenant: str
    """On whose behalf, for the sidecar's records."""
    policy: str
    """The policy that must be in force."""
    mode: str
    """"enforce" or "observe"; only the stricter one may be asked for."""
    stream_id: str
    """Your id for the stream, for records; the sidecar chooses one otherwise."""
    lanes: int
    """How many lanes the answer will have; the upstream is stopped only when all were ended."""
    unscanned: Mapping[str, int]
    """Request parts that cannot be sent as text ("image"), to their number or length."""


def opening(conversation: Conversation, **options: Unpack[OpeningOptions]) -> pb.GuardRequest:
    """The first message of a stream.

    Raises:
        InputError: a role or the mode is unknown.
    """
    mode = options.get("mode", "")
    if mode not in _MODES:
        raise InputError("mode", f"{mode!r} is neither 'enforce' nor 'observe'")
    message = pb.Open(
        conversation=turns(conversation),
        locale=options.get("locale", ""),
        tenant=options.get("tenant", ""),
        policy=options.get("policy", ""),
        mode=_MODES[mode],
        stream_id=options.get("stream_id", ""),
        lanes=options.get("lanes", 1),
        unscanned=options.get("unscanned", {}),
    )
    return pb.GuardRequest(open=message)


def turns(conversation: Conversation) -> list[pb.Turn]:
    """``conversation`` as messages.

    Raises:
        InputError: a role is unknown.
    """
    return [pb.Turn(role=role_value(role), text=text) for role, text in conversation]


def role_value(role: str) -> pb.Role.ValueType:
    """The protocol's value of ``role``.

    Raises:
        InputError: it is unknown.
    """
    if role not in _ROLES:
        raise InputError("role", f"{role!r} is none of {', '.join(map(repr, _ROLES))}")
    return _ROLES[role]


def chunks(text: str, lane: str) -> Iterable[pb.GuardRequest]:
    """``text`` in as few messages as the protocol allows; none for "" - it says nothing."""
    for start in range(0, len(text), _MAX_CHUNK_CHARS):
        yield pb.GuardRequest(chunk=pb.Chunk(lane=lane, text=text[start : start + _MAX_CHUNK_CHARS]))


def lane_end(lane: str) -> pb.GuardRequest:
    """The model finished ``lane``."""
    return pb.GuardRequest(end_lane=pb.EndLane(lane=lane))


def end() -> pb.GuardRequest:
    """The model finished."""
    return pb.GuardRequest(end=pb.End())


def scoring(text: str, role: str, conversation: Conversation, *, tokens: bool) -> pb.ScoreRequest:
    """A text to score.

    Raises:
        InputError: a role is unknown.
    """
    return pb.ScoreRequest(
        text=text, role=role_value(role), conversation=turns(conversation), include_tokens=tokens
    )
