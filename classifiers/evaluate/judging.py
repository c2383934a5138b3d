"""What rows are judged with: a scorer, a policy, and a count of what was scored.

Without a policy file the pack's own operating points are in force, all of them: what the pack's maker
promises, whatever a policy makes of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from classifiers.evaluate.truth import ANY_HARM
from guardrail.app.wiring import load_checked_policy
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.ensemble import operating_points
from guardrail.engine.pack import Pack
from guardrail.engine.scorer import LaneScorer, Scorer
from guardrail.errors import PackError
from guardrail.observer import SilentObserver
from guardrail.policy.rules import CategoryRules, Policy, RoleRules, with_operating_points
from guardrail.policy.taxonomy import CATEGORIES
from guardrail.testing.composers import PlainComposer
from guardrail.transports.services import Services

JUDGED_ROLES = (Role.USER, Role.ASSISTANT)
Thresholds = dict[str, dict[str, dict[int, float]]]


@dataclass(slots=True)
class Timing:
    """What scoring took."""

    tokens: int = 0
    """Scored tokens; the turns before are context, and not among them."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Judging:
    """What rows are judged with."""

    services: Services
    timing: Timing

    @property
    def categories(self) -> Sequence[str]:
        """The columns of all scores."""
        return self.services.scorer.categories

    def thresholds(self) -> Thresholds:
        """Role, category, severity to the score from which it is found; categories not judged are absent."""
        table: Thresholds = {role.value: {} for role in JUDGED_ROLES}
        for name, rules in self.services.policy.categories.items():
            for role in JUDGED_ROLES:
                by_role = rules.role(role)
                if by_role is not None and by_role.thresholds is not None:
                    table[role.value][name] = {int(s): float(t) for s, t in by_role.thresholds.items()}
        return table


def prepare(scorer: Scorer, policy: Policy) -> Judging:
    """A scorer and a policy, ready to judge rows."""
    timing = Timing()
    counting = _CountingScorer(scorer, timing)
    return Judging(Services(counting, policy, PlainComposer(), SilentObserver(), time.monotonic), timing)


def chosen_policy(packs: Sequence[Pack], path: Path | None) -> Policy:
    """The policy of a file, checked against the packs; without one, all of the packs' operating points.

    Raises:
        ConfigError: the policy is wrong, or asks for what the packs cannot do.
        PackError: the packs' operating points cannot be thresholds.
    """
    if path is not None:
        return load_checked_policy(path, [str(pack.directory) for pack in packs])[0]
    noted = RoleRules(interventions={1: "annotate", 2: "annotate", 3: "annotate"})
    # A category the taxonomy does not know cannot stand in a policy, so no stream ever finds it.
    scored = dict.fromkeys(category for pack in packs for category in pack.categories)
    rules = {c: CategoryRules(user=noted, assistant=noted) for c in scored if c in CATEGORIES}
    policy = Policy(version=1, name="operating points", categories=rules or {ANY_HARM: CategoryRules()})
    try:
        return with_operating_points(policy, operating_points(packs))
    except ValueError as error:
        names = ", ".join(pack.name for pack in packs)
        raise PackError(names, f"operating points: {error}") from error


class _CountingScorer(Scorer):
    """A scorer whose tokens are counted."""

    def __init__(self, scorer: Scorer, timing: Timing) -> None:
        self._scorer = scorer
        self._timing = timing

    @property
    def name(self) -> str:
        return self._scorer.name

    @property
    def categories(self) -> Sequence[str]:
        return self._scorer.categories

    def open(self) -> LaneScorer:
        return _CountingLane(self._scorer.open(), self._timing)


class _CountingLane(LaneScorer):
    def __init__(self, lane: LaneScorer, timing: Timing) -> None:
        self._lane = lane
        self._timing = timing

    def begin_turn(self, role: Role) -> None:
        self._lane.begin_turn(role)

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        tokens = await self._lane.extend(text, tentative=tentative, scored=scored)
        self._timing.tokens += len(tokens)
        return tokens

    def fork(self) -> LaneScorer:
        return _CountingLane(self._lane.fork(), self._timing)

    def close(self) -> None:
        self._lane.close()
