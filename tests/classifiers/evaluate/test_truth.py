"""What labels say: by example, and never at odds with what training was told."""

from __future__ import annotations

import itertools

import pytest

from classifiers.default.labels import INDEX, targets
from classifiers.evaluate.rows import LabelledRow
from classifiers.evaluate.truth import excused, truth
from guardrail.core.verdicts import Role


def row(harm, labels=None, role=Role.ASSISTANT):
    return LabelledRow("f:1", "a", "own", role, "en", "text", (), labels or {}, harm, "benign", None)


@pytest.mark.parametrize(
    ("harm", "labels", "category", "expected"),
    [
        (1, {"violence": 2}, "violence", 1),
        (1, {"violence": 3}, "violence", 1),
        (1, {"violence": 1}, "violence", None),
        (1, {"violence": 0}, "violence", 0),
        (1, {"violence": 2}, "drugs", None),  # nobody labelled it: unknown, not absent
        (1, {"ANY": 2}, "violence", None),
        (0, {}, "violence", 0),
        (0, {"mental_distress": 1}, "violence", 0),
        (None, {}, "violence", None),
        (None, {"violence": 2}, "violence", 1),
        (1, {}, "any_harm", 1),
        (1, {"ANY": 1}, "any_harm", None),
        (1, {"violence": 2}, "any_harm", 1),
        (0, {}, "any_harm", 0),
        (0, {"mental_distress": 1}, "any_harm", 0),
        (0, {"hate_harassment": 1}, "any_harm", None),
        (None, {"violence": 3}, "any_harm", None),
        (0, {}, "a category of their own", 0),
    ],
)
def test_truth(harm, labels, category, expected):
    assert truth(row(harm, labels), category) == expected


def test_distress_of_a_user_counts_however_mild():
    labels = {"mental_distress": 1}
    assert truth(row(0, labels, Role.USER), "mental_distress") == 1
    assert truth(row(0, labels, Role.ASSISTANT), "mental_distress") is None


def test_only_distress_in_a_harmless_row_about_distress_is_excused():
    about = {"mental_distress": 1, "violence": 1}
    assert excused(row(0, about), "mental_distress")
    assert not excused(row(0, about), "violence")
    assert not excused(row(0), "mental_distress")
    assert not excused(row(1, about), "mental_distress")


def test_what_is_known_here_is_known_to_training_and_the_same():
    levels = (
        {},
        {"violence": 1},
        {"violence": 2},
        {"mental_distress": 1},
        {"violence": 0, "sexual": 2},
        {"drugs": 3, "self_harm": 1},
        {"ANY": 2},
    )
    compared = 0
    for harm, labels, role in itertools.product((1, 0, None), levels, (Role.USER, Role.ASSISTANT)):
        if harm == 0 and "ANY" in labels:
            continue  # harmful and harmless at once
        target, weight = targets(labels, harm, role.value, "own")
        for category in INDEX:
            known = truth(row(harm, labels, role), category)
            place = INDEX[category]
            if known is not None:
                assert weight[place] > 0, (harm, labels, category)
                assert target[place] == known, (harm, labels, category)
                compared += 1
            elif weight[place] == 1:  # annotated, not inferred: it must be a mild label
                assert 0 < target[place] < 1, (harm, labels, category)
    assert compared > 150
