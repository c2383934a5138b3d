"""``guardrail.engine.v1`` messages from and to the package's own types; many of them a message.

Both sides collect what they have to say and hand it over as one list; here it becomes as few messages as the
bounds allow, and a list again. It does no I/O, and what an operation leads to is not its business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import TypeAlias, assert_never

from guardrail._pb import engine_pb2 as pb
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.identity import Engine, PackIdentity
from guardrail.errors import ProtocolError

PROTOCOL = 1
"""Raised when a peer of the version before could not be understood."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Of one message: four times what the longest request body may become as text."""
MAX_TICK_BYTES = 1024 * 1024
"""Text of one message, unless a single piece is longer: others must not wait for all of it."""
MAX_TICK_OPERATIONS = 4096
MAX_PART_TOKENS = 16_384
"""Tokens of one message of scores; at fifty categories that is 3 MiB."""

_ROLES = {pb.ROLE_SYSTEM: Role.SYSTEM, pb.ROLE_USER: Role.USER, pb.ROLE_ASSISTANT: Role.ASSISTANT}
_ROLE_VALUES = {role: value for value, role in _ROLES.items()}


@dataclass(frozen=True, slots=True)
class Open:
    """Open a lane."""

    lane: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Open a lane as a copy of another."""

    lane: int
    source: int


@dataclass(frozen=True, slots=True)
class BeginTurn:
    """Begin a turn of a lane."""

    lane: int
    role: Role


@dataclass(frozen=True, slots=True)
class Extend:
    """Score the continuation of a lane's turn."""

    lane: int
    call: int
    text: str
    tentative: bool = False
    scored: bool = True


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give an ``Extend`` up."""

    lane: int
    call: int
    tentative: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """Close a lane."""

    lane: int


Operation: TypeAlias = Open | Fork | BeginTurn | Extend | Cancel | Close


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one ``Extend``."""

    call: int
    tokens: Sequence[TokenScore]


@dataclass(frozen=True, slots=True)
class Failed:
    """An ``Extend`` that could not be scored."""

    call: int
    message: str
    """Without text of the conversation."""
    overloaded: bool = False
    """Refused at the door: it may be repeated."""


Result: TypeAlias = Scored | Failed


# -- the handshake ---------------------------------------------------------------------------------------


def welcome(engine: Engine, *, max_lanes: int, max_calls: int) -> pb.ScoreResponse:
    """The engine's first message."""
    return pb.ScoreResponse(
        welcome=pb.Welcome(
            protocol=PROTOCOL,
            version=engine.version,
            scorer=engine.scorer,
            packs=[pb.Pack(name=p.name, version=p.version, checksum=p.checksum) for p in engine.packs],
            categories=engine.categories,
            provider=engine.provider,
            why_not_cuda=engine.why_not_cuda,
            max_lanes=max_lanes,
            max_calls=max_calls,
        )
    )


def engine(message: pb.Welcome) -> Engine:
    """What an engine says of itself.

    Raises:
        ProtocolError: it speaks another version of the protocol.
    """
    check_protocol(message.protocol, "the engine")
    return Engine(
        scorer=message.scorer,
        packs=tuple(PackIdentity(p.name, p.version, p.checksum) for p in message.packs),
        categories=tuple(message.categories),
        provider=message.provider,
        why_not_cuda=message.why_not_cuda,
        version=message.version,
    )


def check_protocol(spoken: int, who: str) -> None:
    """Refuse a peer of another version."""
    if spoken != PROTOCOL:
        raise ProtocolError(
            f"{who} speaks version {spoken} of guardrail.engine, this guardrail version {PROTOCOL}: "
            "run the same release on both sides"
        )


# -- operations ------------------------------------------------------------------------------------------


def requests(operations: Sequence[Operation]) -> Iterator[pb.ScoreRequest]:
    """``operations`` as messages, in order."""
    tick: list[pb.Operation] = []
    size = 0
    for operation in operations:
        message = _operation(operation)
        cost = len(message.extend.text) if isinstance(operation, Extend) else 0
        if tick and (len(tick) >= MAX_TICK_OPERATIONS or size + cost > MAX_TICK_BYTES):
            yield pb.ScoreRequest(operations=pb.Operations(operations=tick))
            tick, size = [], 0
        tick.append(message)
        size += cost
    if tick:
        yield pb.ScoreRequest(operations=pb.Operations(operations=tick))


def operations(message: pb.Operations) -> list[Operation]:
    """The operations of one message.

    Raises:
        ProtocolError: one of them is none that is known here.
    """
    return [_parsed(operation) for operation in message.operations]


def _operation(operation: Operation) -> pb.Operation:
    lane = operation.lane
    match operation:
        case Open():
            return pb.Operation(lane=lane, open=pb.Open())
        case Fork(source=source):
            return pb.Operation(lane=lane, fork=pb.Fork(source=source))
        case BeginTurn(role=role):
            return pb.Operation(lane=lane, begin_turn=pb.BeginTurn(role=_ROLE_VALUES[role]))
        case Extend(call=call, text=text, tentative=tentative, scored=scored):
            data = text.encode("utf-8", "surrogatepass")
            extend = pb.Extend(call=call, text=data, tentative=tentative, unscored=not scored)
            return pb.Operation(lane=lane, extend=extend)
        case Cancel(call=call, tentative=tentative):
            return pb.Operation(lane=lane, cancel=pb.Cancel(call=call, tentative=tentative))
        case Close():
            return pb.Operation(lane=lane, close=pb.Close())
        case _:
            assert_never(operation)


def _parsed(message: pb.Operation) -> Operation:
    lane = message.lane
    match message.WhichOneof("operation"):
        case "open":
            return Open(lane)
        case "fork":
            return Fork(lane, message.fork.source)
        case "begin_turn":
            role = _ROLES.get(message.begin_turn.role)
            if role is None:
                raise ProtocolError("begin_turn.role: none that is known here")
            return BeginTurn(lane, role)
        case "extend":
            extend = message.extend
            try:
                text = extend.text.decode("utf-8", "surrogatepass")
            except UnicodeDecodeError:
                # Not as a cause: its message quotes the text.
                raise ProtocolError("extend.text: is not UTF-8") from None
            return Extend(lane, extend.call, text, tentative=extend.tentative, scored=not extend.unscored)
        case "cancel":
            return Cancel(lane, message.cancel.call, tentative=message.cancel.tentative)
        case "close":
            return Close(lane)
        case _:
            raise ProtocolError("operation: carries none of those known here")


# -- results ---------------------------------------------------------------------------------------------


def responses(results: Sequence[Result], categories: Sequence[str]) -> Iterator[pb.ScoreResponse]:
    """``results`` as messages; a long one in parts."""
    tick: list[pb.Result] = []
    tokens = 0
    for result in results:
        for message, size in _parts(result, categories):
            if tick and tokens + size > MAX_PART_TOKENS:
                yield pb.ScoreResponse(results=pb.Results(results=tick))
                tick, tokens = [], 0
            tick.append(message)
            tokens += size
    if tick:
        yield pb.ScoreResponse(results=pb.Results(results=tick))


def _parts(result: Result, categories: Sequence[str]) -> Iterator[tuple[pb.Result, int]]:
    if isinstance(result, Failed):
        overloaded = result.overloaded
        reason = pb.FAILURE_REASON_OVERLOADED if overloaded else pb.FAILURE_REASON_LANE_FAILED
        yield pb.Result(call=result.call, failure=pb.Failure(reason=reason, message=result.message)), 0
        return
    tokens = result.tokens
    for first in range(0, len(tokens) or 1, MAX_PART_TOKENS):
        part = tokens[first : first + MAX_PART_TOKENS]
        more = first + MAX_PART_TOKENS < len(tokens)
        yield pb.Result(call=result.call, scores=_scores(part, categories, more=more)), len(part)


def _scores(tokens: Sequence[TokenScore], categories: Sequence[str], *, more: bool) -> pb.Scores:
    starts: list[int] = []
    before = 0
    values: list[float] = []
    for token in tokens:
        starts.append(token.span.start - before)
        before = token.span.start
        scores = token.scores
        values += [scores.get(category, nan) for category in categories]
    return pb.Scores(starts=starts, lengths=[len(token.span) for token in tokens], values=values, more=more)


class ResultReader:
    """Messages of results, back to results; keeps the parts of long ones until they are whole.

    Args:
        categories: those of the engine's Welcome.
    """

    def __init__(self, categories: Sequence[str]) -> None:
        self._categories = categories
        self._parts: dict[int, list[TokenScore]] = {}

    def read(self, message: pb.Results) -> Iterator[Result]:
        """The results that are whole now.

        Raises:
            ProtocolError: spans and values do not match.
        """
        for result in message.results:
            call = result.call
            if result.WhichOneof("result") != "scores":
                failure = result.failure
                overloaded = failure.reason == pb.FAILURE_REASON_OVERLOADED
                self._parts.pop(call, None)
                yield Failed(call, failure.message, overloaded=overloaded)
                continue
            tokens = [*self._parts.pop(call, ()), *self._tokens(result.scores)]
            if result.scores.more:
                self._parts[call] = tokens
            else:
                yield Scored(call, tokens)

    def _tokens(self, scores: pb.Scores) -> Iterator[TokenScore]:
        categories, values = self._categories, list(scores.values)
        width = len(categories)
        if not len(scores.starts) == len(scores.lengths) or len(values) != len(scores.starts) * width:
            raise ProtocolError("scores: starts, lengths and values do not match")
        start = 0
        for index, (step, length) in enumerate(zip(scores.starts, scores.lengths, strict=True)):
            start += step
            row = values[index * width : (index + 1) * width]
            pairs = zip(categories, row, strict=True)
            # A sum is no number as soon as one of its terms is none.
            gaps = isnan(sum(row))
            found = {name: value for name, value in pairs if not isnan(value)} if gaps else dict(pairs)
            yield TokenScore(Span(start, start + length), found)
