"""Rows judged by a scorer that knows some words: what a test expects can be read off the text."""

from __future__ import annotations

from classifiers.evaluate.judging import prepare
from classifiers.evaluate.rows import LabelledRow
from guardrail.core.verdicts import Role
from guardrail.policy.rules import CategoryRules, Policy, RoleRules
from guardrail.testing.scorers import KeywordScorer

WORDS = {
    "doom": {"violence": 0.95, "any_harm": 0.9},
    "grim": {"violence": 0.6, "any_harm": 0.3},
    "odd": {"violence": 0.4},
    "tears": {"mental_distress": 0.9},
}
CATEGORIES = ["any_harm", "mental_distress", "violence"]


def judging(**options):
    noted = RoleRules(
        interventions={1: "annotate", 2: "annotate", 3: "annotate"}, thresholds={1: 0.3, 2: 0.5, 3: 0.9}
    )
    rules = CategoryRules(user=noted, assistant=noted)
    policy = Policy(version=1, name="test", categories={"violence": rules, "mental_distress": rules})
    return prepare(KeywordScorer(WORDS, **options), policy)


def row(text="", harm=0, *, role=Role.ASSISTANT, labels=None, source="own", group="benign", **changes):
    values = {"where": "f:1", "id": text, "language": "en", "conversation": (), "onset": None} | changes
    return LabelledRow(
        source=source, role=role, text=text, labels=labels or {}, harm=harm, group=group, **values
    )
