"""A user's turn is judged where its sentences end."""

from __future__ import annotations

import pytest

from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.policy.judge import LaneJudge
from guardrail.policy.prompt import judge_turn
from guardrail.policy.rules import CategoryRules, Policy, RoleRules

RULES = RoleRules(thresholds={2: 0.5}, interventions={2: "redirect"})
POLICY = Policy(version=1, name="t", categories={"self_harm": CategoryRules(user=RULES)})


def tokens_of(text, high):
    """One token a word; those in ``high`` score high."""
    tokens, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        tokens.append(TokenScore(Span(at, at + len(word)), {"self_harm": 0.9 if word in high else 0.1}))
        at += len(word)
    return tokens


def findings(text, high):
    judge = LaneJudge(POLICY, Role.USER)
    return [f.category for v in judge_turn(judge, text, tokens_of(text, high)) for f in v.findings]


def test_a_debounce_for_users_is_refused():
    rules = RoleRules(thresholds={2: 0.5}, interventions={2: "redirect"}, debounce_tokens=2)
    with pytest.raises(ValueError, match="can only be 1"):
        CategoryRules(user=rules)


@pytest.mark.parametrize(
    ("text", "high", "found"),
    [
        ("i want to die of embarrassment", {"want", "to", "die"}, []),
        ("i want to die", {"die"}, ["self_harm"]),
        ("I want to die. What is the weather?", {"die."}, ["self_harm"]),
        ("i want to die\nwhat is the weather", {"die"}, ["self_harm"]),
        ("I want to die. I mean it. Die.", {"die.", "Die."}, ["self_harm"]),  # reported once
        ("", set(), []),
    ],
)
def test_a_turn_is_judged_where_its_sentences_end(text, high, found):
    assert findings(text, high) == found
