"""``LaneJudge``: a policy applied to the tokens of one lane.

Each token updates, per category and severity that it speaks of, a run of consecutive scores over the
threshold. A run that lasts ``debounce_tokens``, or one exact token, is a finding, reported once; a finding
asks for the intervention its category and severity name, clamped to the category's floor and ceiling. Of
several, the most intrusive wins, then the more severe, then the more specific category, then the higher score.

Where the intervention is a mask, one token is a run unless the policy says otherwise, and each is a
finding of its own, for its own span: who finds card numbers finds them whole, and the second is no less
secret than the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from guardrail.core.spans import Span
from guardrail.core.verdicts import (
    CLEAR_VERDICT,
    Decision,
    FailureStance,
    Finding,
    Kind,
    Level,
    Role,
    TokenScore,
    Verdict,
)
from guardrail.policy.hysteresis import Run, Watch
from guardrail.policy.rules import CategoryRules, Policy, RoleRules, kind
from guardrail.policy.taxonomy import FAILURE, rank

OVERLOADS = frozenset({"late", "overload"})
"""Reasons for which the engine is too slow, not broken: ``on_overload`` says what follows."""
_WATCH_SHARE = 0.8  # of the lowest threshold that intervenes, where a policy names no watch threshold


@dataclass(slots=True)
class _Tracked:
    """One category as this lane follows it."""

    category: str
    rules: CategoryRules
    kinds: dict[int, Kind]  # severity to the clamped intervention
    runs: dict[int, Run]  # severity to its run, most severe first
    watch: float | None  # None: this category never holds text by its score
    calm_below: float  # a score from which on something may be done


class LaneJudge:
    """The policy as one lane sees it: pure and deterministic, with memory of this lane only."""

    def __init__(self, policy: Policy, role: Role) -> None:
        self._policy = policy
        self._role = role
        self._watch = Watch(policy.hold_back.settle_tokens)
        self._tracked = [
            self._track(name, rules, by_role)
            for name, rules in policy.categories.items()
            if (by_role := rules.role(role)) is not None
        ]
        # Scores below it are under every threshold, and cool.
        self._harmless = float(min((self._lowest(tracked) for tracked in self._tracked), default=inf))
        self._at_rest = self._harmless > 0

    def _track(self, category: str, rules: CategoryRules, by_role: RoleRules) -> _Tracked:
        thresholds = by_role.thresholds
        if thresholds is None:
            msg = f"{category}: no thresholds; take them from the pack with rules.with_operating_points"
            raise ValueError(msg)
        severities = sorted(thresholds, reverse=True)
        kinds = {s: rules.clamp(kind(by_role.interventions[s]), s) for s in severities}
        debounce = {
            s: by_role.debounce_tokens or (1 if kinds[s] is Kind.MASK else self._policy.debounce_tokens)
            for s in severities
        }
        # A mask that needs one token has nothing to wait for.
        acting = [
            thresholds[s]
            for s in severities
            if kinds[s] > Kind.MASK or (kinds[s] is Kind.MASK and debounce[s] > 1)
        ]
        lowest = min(acting, default=0.0)
        # Never above the lowest threshold: text of a risk that waits to be confirmed must be held.
        watch = min(by_role.watch, lowest) if by_role.watch is not None else _WATCH_SHARE * lowest
        runs = {int(s): Run(thresholds[s], debounce[s]) for s in severities}
        masking = [thresholds[s] for s in severities if kinds[s] is Kind.MASK]
        return _Tracked(
            category,
            rules,
            {int(s): k for s, k in kinds.items()},
            runs,
            watch if acting else None,
            min([watch] * bool(acting) + masking, default=inf),
        )

    def _lowest(self, tracked: _Tracked) -> float:
        bounds = [run.threshold for run in tracked.runs.values()]
        if tracked.watch is not None:
            bounds.append(tracked.watch - self._margin(tracked.watch))
        return min(bounds, default=inf)

    def _margin(self, watch: float) -> float:
        """How far under a watch threshold is cool; more than half would leave nothing cool, the lane held for good."""
        return min(self._policy.hold_back.margin, watch / 2)

    def judge(self, token: TokenScore) -> Verdict:
        """The verdict on the next token."""
        if self.passes((token,)):
            return CLEAR_VERDICT
        hot, cool, watched = False, True, False
        findings: list[Finding] = []
        for tracked in self._tracked:
            score = _said(token, tracked.category)
            if score is None:
                continue
            if tracked.watch is not None and not token.exact:
                watched = True
                hot = hot or score >= tracked.watch
                cool = cool and score < tracked.watch - self._margin(tracked.watch)
            confirmed = [
                severity
                for severity, run in tracked.runs.items()
                if (run.stand if token.exact else run.add)(score, token.span)
            ]
            self._report(tracked, confirmed, findings)
        watching = self._watch.add(hot=hot, cool=cool) if watched else self._watch.on
        begun = any(run.count for tracked in self._tracked for run in tracked.runs.values())
        self._at_rest = self._harmless > 0 and not watching and not begun
        if not findings and not watching:
            return CLEAR_VERDICT
        level, pending_at = (Level.WATCH if watching else Level.CLEAR), self._pending_at()
        if not findings:
            return Verdict(level, pending_at=pending_at)
        return self._conclude(findings, level, pending_at)

    def passes(self, tokens: Sequence[TokenScore]) -> bool:
        """Whether judging ``tokens`` would give nothing but CLEAR and leave the judge as it is."""
        if not tokens:
            return True
        # Nothing is watched and no run has begun: a token that is harmless throughout changes nothing.
        harmless = self._harmless.__gt__
        return self._at_rest and all(all(map(harmless, token.scores.values())) for token in tokens)

    def finish(self) -> Verdict:
        """The verdict when no token will follow: a risk that was waiting to be confirmed stands."""
        findings: list[Finding] = []
        for tracked in self._tracked:
            self._report(tracked, [s for s, run in tracked.runs.items() if run.unconfirmed], findings)
        return self._conclude(findings, Level.CLEAR) if findings else CLEAR_VERDICT

    def would_clear(self, tokens: Sequence[TokenScore]) -> bool:
        """Whether ``tokens`` would all be CLEAR. Changes nothing."""
        return not self._watch.on and all(
            (_said(token, tracked.category) or 0.0) < tracked.calm_below
            for token in tokens
            for tracked in self._tracked
        )

    def prospect(self, token: TokenScore) -> Level:
        """What a pending token may come to; changes nothing."""
        level = Level.CLEAR
        for tracked in self._tracked:
            score = _said(token, tracked.category)
            acting = [run.threshold for s, run in tracked.runs.items() if tracked.kinds[s] > Kind.ANNOTATE]
            if score is not None and acting:
                level = max(level, Level.ACT if score >= min(acting) else Level.WATCH)
        return level

    def failure(self, reason: str) -> tuple[FailureStance, Decision]:
        """The stance for text that cannot be scored, and what REDIRECT would carry out."""
        finding = Finding(FAILURE, 1, 0.0, Span(0, 0), self._role)
        overload = reason in OVERLOADS
        stance = self._policy.stance(self._role, overload=overload)
        key = "on_overload" if overload else "on_failure"
        return stance, Decision(Kind.REPLACE, finding, f"scoring failed ({reason}); {key}: {stance.value}")

    def _pending_at(self) -> int | None:
        """Where the earliest run begins that would intervene if it were confirmed."""
        starts = [
            run.start
            for tracked in self._tracked
            for severity, run in tracked.runs.items()
            if run.unconfirmed and not run.reported and tracked.kinds[severity] > Kind.ANNOTATE
        ]
        return min(starts, default=None)

    def _report(self, tracked: _Tracked, severities: Sequence[int], into: list[Finding]) -> None:
        """Add a finding for the most severe of ``severities``, which unless it is masked is reported once."""
        if not severities:
            return
        worst = max(severities)
        run = tracked.runs[worst]
        if tracked.kinds[worst] is not Kind.MASK:
            if run.reported:
                return
            for severity, lesser in tracked.runs.items():
                lesser.reported = lesser.reported or severity <= worst
        into.append(Finding(tracked.category, worst, run.peak, run.new, self._role))

    def _conclude(self, findings: Sequence[Finding], level: Level, pending_at: int | None = None) -> Verdict:
        decisions = [self._decide(finding) for finding in findings]
        masks = [decision for decision in decisions if decision.kind is Kind.MASK]
        others = [decision for decision in decisions if decision.kind not in {Kind.MASK, Kind.ALLOW}]
        best = max(others, key=weight, default=None)
        if best is not None and best.kind > Kind.ANNOTATE:
            level = Level.ACT
        return Verdict(level, best, masks, findings, pending_at)

    def _decide(self, finding: Finding) -> Decision:
        tracked = next(t for t in self._tracked if t.category == finding.category)
        chosen = tracked.kinds[finding.severity]
        threshold = tracked.runs[finding.severity].threshold
        rationale = (
            f"{finding.role.value} {finding.category} severity {finding.severity}: "
            f"score {finding.score:.3f} >= {threshold:.3f}; policy {self._policy.name} says {chosen.label}"
        )
        return Decision(chosen, finding, rationale)


def weight(decision: Decision) -> tuple[int, int, int, float]:
    """What decides between decisions: the more intrusive, the more severe, the more specific, the surer."""
    finding = decision.finding
    return decision.kind, finding.severity, -rank(finding.category), finding.score


def _said(token: TokenScore, category: str) -> float | None:
    """What a token says of a category; one that says nothing at all says that there is nothing."""
    return token.scores.get(category) if token.scores else 0.0
