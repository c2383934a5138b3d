"""``assess``: what a guarded stream would have seen in a text, without a stream.

The same scorer and the same judge as a stream's, over a text that is finished. What is done about it -
words, releases, records - belongs to the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Finding, Role, TokenScore
from guardrail.policy.judge import LaneJudge
from guardrail.policy.prompt import judge_turn
from guardrail.transports.context import recent
from guardrail.transports.services import Services


@dataclass(frozen=True, slots=True)
class Assessment:
    """Scores and findings of one text."""

    tokens: Sequence[TokenScore]
    findings: Sequence[Finding]
    """Those in the text itself, not in the turns before it."""

    @property
    def max(self) -> Mapping[str, float]:
        """Category to the highest risk score of any token; categories nothing was scored in are absent."""
        highest: dict[str, float] = {}
        for token in self.tokens:
            for category, score in token.scores.items():
                highest[category] = max(score, highest.get(category, 0.0))
        return highest

    @property
    def gravest(self) -> Finding | None:
        """The most severe finding, of several the one that begins first."""
        return min(self.findings, key=lambda found: (-found.severity, found.span.start), default=None)


async def assess(services: Services, text: str, role: Role, conversation: Sequence[Turn] = ()) -> Assessment:
    """Assess ``text``, said by ``role`` after ``conversation``.

    Raises:
        ScoringError: it could not be scored.
        OverloadedError: refused at the door; the call may be repeated.
    """
    scorer = services.scorer.open()
    try:
        for turn in recent(conversation):
            scorer.begin_turn(turn.role)
            await scorer.extend(turn.text, scored=False)
        scorer.begin_turn(role)
        tokens = await scorer.extend(text)
    finally:
        scorer.close()
    judge = LaneJudge(services.policy, role)
    if role is Role.USER:
        verdicts = judge_turn(judge, text, tokens)
    else:
        verdicts = [*(judge.judge(token) for token in tokens), judge.finish()]
    return Assessment(tokens, tuple(finding for verdict in verdicts for finding in verdict.findings))
