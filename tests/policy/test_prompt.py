"""A user's turn is judged where its sentences end."""

from __future__ import annotations

import pytest

from guardrail.core.spans import Span
from guardrail.core.verdicts import Decision, Finding, Kind, Role, TokenScore
from guardrail.policy.judge import LaneJudge
from guardrail.policy.prompt import judge_turn, judged_tokens, settle
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


def decision(kind, category, severity):
    return Decision(kind, Finding(category, severity, 0.9, Span(0, 1), Role.USER), category)


def order(*decisions):
    return [(found.kind, found.finding.category) for found in settle(decisions)]


def test_the_weightiest_decision_comes_first():
    mild, grave = decision(Kind.REDIRECT, "mental_distress", 2), decision(Kind.REPLACE, "drugs", 2)
    assert order(mild, grave) == [(Kind.REPLACE, "drugs"), (Kind.REDIRECT, "mental_distress")]


def test_distress_with_a_sign_of_self_harm_gets_the_help_for_self_harm():
    distress, sign = decision(Kind.REDIRECT, "mental_distress", 2), decision(Kind.ANNOTATE, "self_harm", 1)
    assert order(sign, distress) == [(Kind.REDIRECT, "self_harm"), (Kind.ANNOTATE, "self_harm")]


@pytest.mark.parametrize(
    "other", [decision(Kind.ANNOTATE, "drugs", 3), decision(Kind.REDIRECT, "self_harm", 1)]
)
def test_otherwise_distress_gets_the_help_for_distress(other):
    distress = decision(Kind.REDIRECT, "mental_distress", 2)
    assert (Kind.REDIRECT, "mental_distress") in order(distress, other)


def test_distress_after_a_turn_about_self_harm_gets_the_help_for_self_harm():
    distress, before = decision(Kind.REDIRECT, "mental_distress", 2), decision(Kind.REDIRECT, "self_harm", 3)
    assert [(d.kind, d.finding) for d in settle([distress], [before])] == [(Kind.REDIRECT, before.finding)]
    assert settle([], [before]) == []


# -- several packs, and exact tokens -----------------------------------------------------------------------


def token(text, word, category, *, exact=False):
    start = text.index(word)
    return TokenScore(Span(start, start + len(word)), {category: 0.9}, exact=exact)


def test_each_pack_has_a_last_token_of_its_own_in_a_sentence():
    text = "I want to die. Bye now"
    first = [token(text, word, "self_harm") for word in ("die.", "Bye")]
    second = [token(text, word, "drugs") for word in ("want", ".", "now")]
    tokens = sorted([*first, *second], key=lambda each: each.span.end)
    judged = [(next(iter(tokens[n].scores)), tokens[n].span.end) for n in judged_tokens(text, tokens)]
    assert judged == [("self_harm", 14), ("drugs", 14), ("self_harm", 18), ("drugs", 22)]


def test_an_entity_is_judged_wherever_it_stands():
    text = "mail a@b.com about it"
    tokens = [
        token(text, "mail", "drugs"),
        token(text, "a@b.com", "contact_data", exact=True),
        token(text, "it", "drugs"),
    ]
    assert judged_tokens(text, tokens) == [1, 2]
