"""Scorers for tests of gates: what they were shown, and what was said of it."""

from __future__ import annotations

import asyncio

from guardrail.core.verdicts import Role
from guardrail.engine.scorer import Scorer
from guardrail.errors import OverloadedError
from guardrail.testing.scorers import KeywordScorer

GATE = {"murk": {"violence": 0.3}, "hush": {"violence": 0.1}}
PHRASES = {"key one two": {"privacy_pii": 0.9}}
HEAVY = {"murk": {"violence": 0.9}, "doom": {"violence": 0.95, "sexual": 0.2}}


class Counting(KeywordScorer):
    """A scorer that says what it was shown, and refuses as often as it is told to."""

    def __init__(self, words, **options) -> None:
        super().__init__(words, **options)
        self.shown: list[str] = []
        self.refusals = 0

    async def score(self, text, offset):
        await asyncio.sleep(0)
        if self.refusals:
            self.refusals -= 1
            raise OverloadedError("full")
        self.shown.append(text)
        return await super().score(text, offset)


def lane_of(scorer: Scorer, role: Role = Role.ASSISTANT):
    lane = scorer.open()
    lane.begin_turn(role)
    return lane


def said(tokens, category="violence"):
    return {t.span.start: t.scores[category] for t in tokens if category in t.scores and not t.pending}
