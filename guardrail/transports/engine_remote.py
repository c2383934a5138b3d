"""``RemoteScorer``: scoring by an engine in another process, over a connection that comes back by itself.

A lane belongs to the connection it was opened on. When that is lost its calls fail with ``ScoringError``, those
under way and all later ones, and so do those of lanes opened while there is none: what happens to their text is
the policy's stance (invariant 6). Nothing is replayed to an engine that comes back; new lanes find it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc

from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.identity import Engine, PackIdentity
from guardrail.engine.scorer import LaneScorer, Scorer
from guardrail.errors import ConfigError, GuardrailError, OverloadedError, ScoringError
from guardrail.observer import EngineLost, EngineReached, Observer
from guardrail.transports.engine_messages import BeginTurn
from guardrail.transports.engine_session import EngineSession, EngineUnreachableError, connect
from guardrail.transports.tasks import spawn

_log = logging.getLogger(__name__)

_HOPELESS = frozenset({"mismatch", "protocol", "failed_precondition", "invalid_argument", "unimplemented"})
"""Reasons that waiting does not mend: at the start they are bad configuration."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between attempts to reach the engine."""

    first_s: float = 0.1
    most_s: float = 5.0

    def delays(self, lots: Callable[[], float] = random.random) -> Iterator[float]:
        """Seconds before each further attempt.

        Doubled each time, and spread over the upper half of that, so that many sidecars do not come back in
        the same instant.

        Args:
            lots: draws from [0, 1).
        """
        for attempt in itertools.count():
            yield min(self.most_s, self.first_s * 2.0 ** min(attempt, 32)) * (0.5 + lots() / 2)


class RemoteScorer(Scorer):
    """An engine in another process; used from one event loop.

    Args:
        address: "HOST:PORT" or "unix:PATH".
        packs: what must run there, in any order; thresholds were taken from these.
        observer: told when the engine is lost and reached.
        clock: seconds, monotonic.
        credentials: for TLS; None is plaintext.
        backoff: between attempts to reach it.
    """

    def __init__(
        self,
        address: str,
        packs: Sequence[PackIdentity],
        *,
        observer: Observer,
        clock: Callable[[], float],
        credentials: grpc.ChannelCredentials | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.address = address
        self._packs = tuple(packs)
        self._observer, self._clock = observer, clock
        self._credentials = credentials
        self._backoff = backoff or Backoff()
        self._session: EngineSession | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.engine: Engine | None = None
        """What was reached last."""
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever the engine was reached or lost."""

    @property
    def name(self) -> str:
        """Pack name and version, for records."""
        return self._known.scorer

    @property
    def categories(self) -> Sequence[str]:
        """The categories it scores."""
        return self._known.categories

    @property
    def provider(self) -> str:
        """Where the network runs."""
        return self._known.provider

    @property
    def _known(self) -> Engine:
        if self.engine is None:
            raise RuntimeError("the engine was never reached: call start first")
        return self.engine

    @property
    def session(self) -> EngineSession | None:
        """The connection that stands, with its counts."""
        return self._session

    async def start(self, deadline_s: float) -> None:
        """Reach the engine for the first time; from then on the connection is kept.

        Raises:
            ConfigError: another pack or protocol is at home there.
            GuardrailError: nobody answered for ``deadline_s`` seconds.
        """
        give_up_at = self._clock() + deadline_s
        for delay_s in self._backoff.delays():
            try:
                session = await self._connect()
            except EngineUnreachableError as error:
                if error.reason in _HOPELESS:
                    raise ConfigError(f"engine {self.address}", "", str(error)) from error
                if self._clock() + delay_s > give_up_at:
                    raise GuardrailError(
                        f"no engine answered at {self.address} for {deadline_s:g} s: {error}"
                    ) from error
                await asyncio.sleep(delay_s)
            else:
                self._reached(session, away_s=0.0)
                self._keeping = spawn(self._keep(session), name="connection to the engine")
                return

    async def stop(self) -> None:
        """Give the connection up, for good."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self._session is not None:
            await self._session.close("the sidecar is stopping")
            self._session = None

    def open(self) -> RemoteLane | LostLane:
        """A new, empty conversation; without an engine its calls will fail."""
        return _lane(self._session, None, begun=False)

    async def _connect(self) -> EngineSession:
        session = await connect(self.address, self._credentials)
        found = session.engine
        if set(found.packs) == set(self._packs):
            return session
        there, wanted = (", ".join(map(str, packs)) for packs in (found.packs, self._packs))
        says = f"it runs {there}, and the policy here was checked against {wanted}"
        await session.close(says)
        raise EngineUnreachableError("mismatch", says)

    async def _keep(self, session: EngineSession) -> None:
        """Notice when the connection is lost, and make another, for as long as it takes."""
        while True:
            error = await session.ended()
            lost_at = self._clock()
            self._lost(error)
            session = await self._reconnect(error.reason)
            self._reached(session, away_s=self._clock() - lost_at)

    async def _reconnect(self, said: str) -> EngineSession:
        for delay_s in self._backoff.delays():
            await asyncio.sleep(delay_s)
            try:
                return await self._connect()
            except EngineUnreachableError as error:
                if error.reason != said and error.reason in _HOPELESS:
                    _log.error("engine %s cannot be used: %s", self.address, error)
                said = error.reason
        raise AssertionError("delays do not end")

    def _reached(self, session: EngineSession, away_s: float) -> None:
        self._session, self.engine = session, session.engine
        found = session.engine
        if away_s:
            _log.warning("engine %s is back after %.1f s", self.address, away_s)
        self._observer.record(EngineReached(found.scorer, found.provider, away_s))
        self.on_change()

    def _lost(self, error: EngineUnreachableError) -> None:
        self._session = None
        _log.error("engine %s was lost: %s; scoring fails until it is back", self.address, error)
        self._observer.record(EngineLost(self.name, self.provider, error.reason))
        self.on_change()


class RemoteLane(LaneScorer):
    """A conversation on an engine. Made by ``RemoteScorer.open`` and by ``fork``.

    Args:
        session: the connection it belongs to.
        number: its number there.
        begun: whether it is in a turn already, as a fork is.
    """

    def __init__(self, session: EngineSession, number: int, *, begun: bool = False) -> None:
        self._session, self._number = session, number
        self._begun = begun
        self._calls = 0
        self._closed = False

    def begin_turn(self, role: Role) -> None:
        """Start a new turn; positions of scores count from its first code point.

        Raises:
            RuntimeError: an ``extend`` is under way.
            ScoringError: the lane is closed.
        """
        self._check_idle("begin_turn")
        self._begun = True
        self._session.send(BeginTurn(self._number, role))

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        """Score ``text``, the continuation of the current turn; see ``LaneScorer``.

        A call that is cancelled just when its scores are on their way cannot be undone on the engine: the
        lane's later calls then fail.

        Raises:
            OverloadedError: refused at the door, here or there; the call may be repeated.
            ScoringError: the lane failed or is closed, or its connection was lost.
            RuntimeError: no turn was begun.
        """
        if not self._begun:
            raise RuntimeError("extend before begin_turn: whose words are these?")
        self._check_open()
        self._calls += 1
        try:
            return await self._session.extend(self._number, text, tentative=tentative, scored=scored)
        finally:
            self._calls -= 1

    def fork(self) -> RemoteLane | LostLane:
        """An independent copy, in the same turn, sharing what has been scored so far.

        Raises:
            RuntimeError: an ``extend`` is under way.
            ScoringError: the lane is closed.
        """
        self._check_idle("fork")
        return _lane(self._session, self._number, begun=self._begun)

    def close(self) -> None:
        """Free everything, there too; whoever still waits for scores gets a ``ScoringError``; idempotent."""
        if not self._closed:
            self._closed = True
            self._session.close_lane(self._number)

    def _check_open(self) -> None:
        if self._closed:
            raise ScoringError("the lane is closed")

    def _check_idle(self, call: str) -> None:
        self._check_open()
        if self._calls:
            raise RuntimeError(f"{call} while an extend of the same lane is under way")


class LostLane(LaneScorer):
    """A conversation that could not be opened: every call fails, for the policy to say what follows.

    Args:
        error: what calls raise.
    """

    def __init__(self, error: ScoringError) -> None:
        self._error = error

    def begin_turn(self, role: Role) -> None:
        """Nothing."""

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        """Fail."""
        del text, tentative, scored
        raise self._error

    def fork(self) -> LostLane:
        """Another of its kind."""
        return LostLane(self._error)

    def close(self) -> None:
        """Nothing."""


def _lane(session: EngineSession | None, source: int | None, *, begun: bool) -> RemoteLane | LostLane:
    if session is None or session.lost:
        return LostLane(ScoringError("the engine is away"))
    try:
        return RemoteLane(session, session.open_lane(source), begun=begun)
    except OverloadedError as error:
        return LostLane(error)
