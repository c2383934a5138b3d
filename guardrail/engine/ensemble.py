"""``EnsembleScorer``: several packs score every text, each on its own; the slowest bounds the answer.

A token speaks of its own pack's categories alone. Where several packs score a category, the first of them speaks
of it: the others' scores count where they are higher, on the tokens of the first that they overlap, and only where
it has none do they speak themselves. So no word counts twice towards a debounce.

A member may be *gated* by another one (``gate``): it is asked once the other, which reads the text first, saw something.
The gate is read once, whoever it gates; that its findings count, too, is nothing special. One that only gates is muted.

A call stands as a whole or not at all, as with one pack: what a member has read of a call that was refused or
cancelled while another was not done is kept, and read no second time when the text is handed over again.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.gate import Gate, GatedLane, Gating
from guardrail.engine.manifest import Pack
from guardrail.engine.scorer import LaneScorer, LoadedScorer
from guardrail.errors import OverloadedError, ScoringError

Points = Mapping[Role, Mapping[str, Mapping[int, float] | None]]
Muted = Mapping[Role, Collection[str]]

_JUDGED = (Role.USER, Role.ASSISTANT)


@dataclass(frozen=True, slots=True)
class Member:
    """One scorer of an ensemble."""

    scorer: LoadedScorer
    muted: Muted = field(default_factory=dict)
    """Categories of which it is not to speak, by the role whose turn it is."""
    gated_by: tuple[int, Gate] | None = None
    """Place of the member that decides which lanes it reads, and when; None: it reads all."""


def operating_points(packs: Sequence[Pack]) -> Points:
    """The operating points of several packs: of each role and category those of the first pack that has any."""
    points: dict[Role, dict[str, Mapping[int, float] | None]] = {role: {} for role in _JUDGED}
    for role, table in points.items():
        for pack in packs:
            for category, mine in pack.operating_points.get(role, {}).items():
                if table.get(category) is None:
                    table[category] = mine
    return points


def muted(packs: Sequence[Pack]) -> list[Muted]:
    """For each pack what its makers advise not to judge, where another pack's makers do not."""
    judged = operating_points(packs)
    return [
        {
            role: {
                category
                for category, mine in pack.operating_points.get(role, {}).items()
                if mine is None and judged[role][category] is not None
            }
            for role in _JUDGED
        }
        for pack in packs
    ]


def seated(
    packs: Sequence[Pack], scorers: Sequence[LoadedScorer], gating: Gating | None = None
) -> list[Member]:
    """The members of an ensemble: what each pack may speak of, and which it waits for.

    Args:
        packs: in order of precedence.
        scorers: theirs.
        gating: which of them gate which, and which of those only gate.
    """
    gating = gating or Gating()
    heard = [place for place in range(len(packs)) if place not in gating.silent]
    quiet = dict(zip(heard, muted([packs[place] for place in heard]), strict=True))
    return [
        Member(scorer, quiet.get(place, dict.fromkeys(Role, scorer.categories)), gating.gates.get(place))
        for place, scorer in enumerate(scorers)
    ]


class EnsembleScorer(LoadedScorer):
    """Several scorers as one.

    Args:
        members: in order of precedence; owned from here on.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        """In order of precedence."""
        scorers = [member.scorer for member in members]
        self.provider = ", ".join(dict.fromkeys(scorer.provider for scorer in scorers))
        """Where they run, each place once."""
        self.why_not_cuda = "; ".join(dict.fromkeys(filter(None, (s.why_not_cuda for s in scorers))))
        """Why those that run on the CPU do."""
        self.lanes_opened = 0
        """Lanes that gates have opened so far; forks of an open lane do not count again."""

    @property
    def name(self) -> str:
        """All members' names, for records; that of a gate stands behind what it gates, too: "heavy<gate"."""
        return " + ".join(
            f"{member.scorer.name}<{self.members[member.gated_by[0]].scorer.name}"
            if member.gated_by is not None
            else member.scorer.name
            for member in self.members
        )

    @property
    def categories(self) -> Sequence[str]:
        """What any of them scores, and is heard in for one role at least."""
        return tuple(
            dict.fromkeys(
                name
                for member in self.members
                for name in member.scorer.categories
                if not all(name in member.muted.get(role, ()) for role in _JUDGED)
            )
        )

    def open(self) -> EnsembleLane:
        """A new, empty conversation with all of them."""
        return EnsembleLane([self._open(member) for member in self.members])

    def _open(self, member: Member) -> _MemberLane:
        gate: int | None = None
        lane: LaneScorer | GatedLane
        if member.gated_by is not None:
            gate, rule = member.gated_by
            lane = GatedLane(member.scorer, rule, self._count)
        else:
            lane = member.scorer.open()
        return _MemberLane(member.scorer, lane, member.muted, gate)

    def _count(self) -> None:
        self.lanes_opened += 1

    def close(self) -> None:
        """Close all of them; idempotent, blocks."""
        for member in self.members:
            member.scorer.close()


def parts(scorer: LoadedScorer) -> Sequence[LoadedScorer]:
    """The scorers of an ensemble, or the one that is none."""
    return [member.scorer for member in scorer.members] if isinstance(scorer, EnsembleScorer) else [scorer]


class EnsembleLane(LaneScorer):
    """One conversation with several scorers."""

    def __init__(self, lanes: Sequence[_MemberLane]) -> None:
        self._lanes = lanes
        self._turnstile = asyncio.Lock()
        self._calls = 0

    def begin_turn(self, role: Role) -> None:
        """Start a new turn with all of them.

        Raises:
            RuntimeError: an ``extend`` is under way.
            ScoringError: the lane is closed.
        """
        self._check_idle("begin_turn")
        for lane in self._lanes:
            lane.begin_turn(role)

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        """Have all of them score ``text``; arguments, result and errors as of ``LaneScorer``.

        Raises:
            OverloadedError: one of them refused it, and is named; nothing happened, the call may be repeated.
            ScoringError: one of them failed, and is named.
        """
        self._calls += 1
        try:
            async with self._turnstile:
                async with asyncio.TaskGroup() as group:
                    reading: list[asyncio.Task[Sequence[TokenScore]]] = []
                    reading += [  # none of them runs before all of them are there
                        group.create_task(self._read(lane, reading, text, tentative=tentative, scored=scored))
                        for lane in self._lanes
                    ]
                if not tentative:
                    for lane in self._lanes:
                        lane.settle()
                return merged(
                    [lane.heard(task.result()) for lane, task in zip(self._lanes, reading, strict=True)]
                )
        except BaseExceptionGroup as failures:
            # A failure outlives a refusal: the lane cannot be used any longer.
            worst = min(failures.exceptions, key=lambda each: isinstance(each, OverloadedError))
            raise worst from worst.__cause__
        finally:
            self._calls -= 1

    async def _read(
        self,
        lane: _MemberLane,
        reading: Sequence[asyncio.Task[Sequence[TokenScore]]],
        text: str,
        *,
        tentative: bool,
        scored: bool,
    ) -> Sequence[TokenScore]:
        """One member's tokens, after those of its gate."""
        gated = () if lane.gate is None else await reading[lane.gate]
        return await lane.read(text, gated, tentative=tentative, scored=scored)

    def fork(self) -> EnsembleLane:
        """An independent copy, in the same turn.

        Raises:
            RuntimeError: an ``extend`` is under way.
            ScoringError: the lane is closed.
        """
        self._check_idle("fork")
        return EnsembleLane([lane.fork() for lane in self._lanes])

    def close(self) -> None:
        """Close all of them; idempotent."""
        for lane in self._lanes:
            lane.lane.close()

    def _check_idle(self, call: str) -> None:
        if self._calls:
            raise RuntimeError(f"{call} while an extend of the same lane is under way")


class _MemberLane:
    """One member's conversation, and what it has read that the whole ensemble has not."""

    def __init__(
        self, scorer: LoadedScorer, lane: LaneScorer | GatedLane, muted: Muted, gate: int | None
    ) -> None:
        self.lane = lane
        self.gate = gate
        """Place of the lane whose tokens it waits for."""
        self._scorer = scorer
        self._muted = muted
        self._unwanted: Collection[str] = ()
        self._ahead = ""
        self._ahead_scores: Sequence[TokenScore] = ()

    def begin_turn(self, role: Role) -> None:
        self.lane.begin_turn(role)
        self._unwanted = self._muted.get(role, ())
        self.settle()

    async def read(
        self, text: str, gated: Sequence[TokenScore], *, tentative: bool, scored: bool
    ) -> Sequence[TokenScore]:
        name = self._scorer.name
        if not text.startswith(self._ahead):
            raise ScoringError(f"pack {name}: text that was refused or cancelled comes again as another")
        rest = text[len(self._ahead) :]
        if self._ahead and not rest:
            return self._ahead_scores
        try:
            if isinstance(self.lane, GatedLane):
                scores = await self.lane.extend(rest, gated, tentative=tentative, scored=scored)
            else:
                scores = await self.lane.extend(rest, tentative=tentative, scored=scored)
        except OverloadedError as error:
            raise OverloadedError(f"pack {name}: {error}") from error
        except ScoringError as error:
            raise ScoringError(f"pack {name}: {error}") from error
        earlier = [
            score for score in self._ahead_scores if not score.pending
        ]  # restated, or not so any longer
        scores = [*earlier, *scores]
        if not tentative:
            self._ahead, self._ahead_scores = text, scores
        return scores

    def settle(self) -> None:
        """The others have read as far."""
        self._ahead, self._ahead_scores = "", ()

    def fork(self) -> _MemberLane:
        copy = _MemberLane(self._scorer, self.lane.fork(), self._muted, self.gate)
        copy._unwanted, copy._ahead, copy._ahead_scores = self._unwanted, self._ahead, self._ahead_scores
        return copy

    def heard(self, scores: Sequence[TokenScore]) -> Sequence[TokenScore]:
        """What it says of what it is to speak of."""
        # One that names no category says 0 of each that its scorer knows, and nothing of the others'.
        named = [
            score if score.scores else replace(score, scores=dict.fromkeys(self._scorer.categories, 0.0))
            for score in scores
        ]
        if not self._unwanted:
            return named
        return [score for score in (_without(score, self._unwanted) for score in named) if score.scores]


def merged(by_pack: Sequence[Sequence[TokenScore]]) -> list[TokenScore]:
    """The tokens of several packs as those of one, by where they end; of a category only one speaks at a place.

    Args:
        by_pack: each pack's tokens, in order of precedence. Exact ones are taken as they are.
    """
    exact = [score for scores in by_pack for score in scores if score.exact]
    plain = [[score for score in scores if not score.exact] for scores in by_pack]
    for place, leading in enumerate(plain):
        ends = [score.span.end for score in leading]
        starts = [score.span.start for score in leading]
        for follower in plain[place + 1 :]:
            for number, score in enumerate(follower):
                # Tokens of one pack stand in order, so those that overlap are neighbours.
                first, last = bisect_right(ends, score.span.start), bisect_left(starts, score.span.end)
                shared = [
                    name
                    for name in score.scores
                    if any(name in leading[at].scores for at in range(first, last))
                ]
                if not shared:
                    continue
                for at in range(first, last):
                    higher = {
                        name: max(leading[at].scores[name], score.scores[name])
                        for name in shared
                        if name in leading[at].scores
                    }
                    leading[at] = replace(leading[at], scores={**leading[at].scores, **higher})
                follower[number] = _without(score, shared)
    spoken = [score for scores in plain for score in scores if score.scores]
    return sorted([*spoken, *exact], key=lambda score: (score.span.end, score.span.start))


def _without(score: TokenScore, names: Collection[str]) -> TokenScore:
    kept = {name: value for name, value in score.scores.items() if name not in names}
    return score if len(kept) == len(score.scores) else replace(score, scores=kept)
