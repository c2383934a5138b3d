"""``LaneJudge``: a policy applied to the tokens of one lane.

Each token updates, per category and severity that it speaks of, a run of consecutive scores over the
threshold. A run that lasts ``debounce_tokens``, or one exact token, is a finding, reported once; a finding
asks for the intervention its category and severity name, clamped to the category's floor and ceiling. Of
several, the most intrusive wins, then the more severe, then the more specific category, then the higher score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    watch: float | None  # None: this category never holds text


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

    def _track(self, category: str, rules: CategoryRules, by_role: RoleRules) -> _Tracked:
        thresholds = by_role.thresholds
        if thresholds is None:
            msg = f"{category}: no thresholds; take them from the pack with rules.with_operating_points"
            raise ValueError(msg)
        debounce = by_role.debounce_tokens or self._policy.debounce_tokens
        severities = sorted(thresholds, reverse=True)
        kinds = {s: rules.clamp(kind(by_role.interventions[s]), s) for s in severities}
        acting = [thresholds[s] for s in severities if kinds[s] > Kind.ANNOTATE]
        lowest = min(acting, default=0.0)
        # Never above the lowest threshold: text of a risk that waits to be confirmed must be held.
        watch = min(by_role.watch, lowest) if by_role.watch is not None else _WATCH_SHARE * lowest
        runs = {int(s): Run(thresholds[s], debounce) for s in severities}
        return _Tracked(
            category, rules, {int(s): k for s, k in kinds.items()}, runs, watch if acting else None
        )

    def judge(self, token: TokenScore) -> Verdict:
        """The verdict on the next token."""
        hot, cool, watched = False, True, False
        findings: list[Finding] = []
        for tracked in self._tracked:
            score = _said(token, tracked.category)
            if score is None:
                continue
            if tracked.watch is not None and not token.exact:
                watched = True
                hot = hot or score >= tracked.watch
                # A margin wider than a low watch threshold would leave nothing cool, and the lane held for good.
                margin = min(self._policy.hold_back.margin, tracked.watch / 2)
                cool = cool and score < tracked.watch - margin
            confirmed = [
                severity
                for severity, run in tracked.runs.items()
                if (run.stand if token.exact else run.add)(score, token.span)
            ]
            self._report(tracked, confirmed, findings)
        watching = self._watch.add(hot=hot, cool=cool) if watched else self._watch.on
        if not findings and not watching:
            return CLEAR_VERDICT
        level, pending_at = (Level.WATCH if watching else Level.CLEAR), self._pending_at()
        if not findings:
            return Verdict(level, pending_at=pending_at)
        return self._conclude(findings, level, pending_at)

    def finish(self) -> Verdict:
        """The verdict when no token will follow: a risk that was waiting to be confirmed stands."""
        findings: list[Finding] = []
        for tracked in self._tracked:
            self._report(tracked, [s for s, run in tracked.runs.items() if run.count], findings)
        return self._conclude(findings, Level.CLEAR) if findings else CLEAR_VERDICT

    def would_clear(self, tokens: Sequence[TokenScore]) -> bool:
        """Whether ``tokens`` would all be CLEAR. Changes nothing."""
        return not self._watch.on and all(
            tracked.watch is None or (_said(token, tracked.category) or 0.0) < tracked.watch
            for token in tokens
            for tracked in self._tracked
        )

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
            if run.count and not run.reported and tracked.kinds[severity] > Kind.ANNOTATE
        ]
        return min(starts, default=None)

    def _report(self, tracked: _Tracked, severities: Sequence[int], into: list[Finding]) -> None:
        """Add a finding for the most severe of ``severities`` unless it was reported before."""
        if not severities:
            return
        worst = max(severities)
        if tracked.runs[worst].reported:
            return
        for severity, run in tracked.runs.items():
            run.reported = run.reported or severity <= worst
        run = tracked.runs[worst]
        into.append(Finding(tracked.category, worst, run.peak, run.span, self._role))

    def _conclude(self, findings: Sequence[Finding], level: Level, pending_at: int | None = None) -> Verdict:
        decisions = [self._decide(finding) for finding in findings]
        best = max(decisions, key=weight)
        if best.kind is Kind.ALLOW:
            return Verdict(level, None, findings, pending_at)
        return Verdict(Level.ACT if best.kind > Kind.ANNOTATE else level, best, findings, pending_at)

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
