"""What a row's labels tell each head: 1, 0, a little, or nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.default.architecture import CATEGORIES
from classifiers.default.labels import (
    ANY,
    INDEX,
    MILD_TARGET,
    NEVER_SURE,
    OFTEN_TOGETHER,
    TOXIC_COMMENTS,
    WEAK_NEGATIVE,
    related,
    targets,
)


def told(labels, harm, role="assistant", source="made_up", unknown=()):
    """Category to (target, weight)."""
    target, weight = targets(labels, harm, role, source, unknown)
    assert target.dtype == weight.dtype == np.float32
    return {name: (round(float(target[i]), 6), round(float(weight[i]), 6)) for name, i in INDEX.items()}


def test_categories_named_by_the_rules_exist():
    assert set().union(*OFTEN_TOGETHER) | NEVER_SURE <= set(CATEGORIES)
    assert CATEGORIES[ANY] == "any_harm"


def test_in_a_harmless_row_everything_is_known_to_be_absent():
    assert told({}, 0) == dict.fromkeys(CATEGORIES, (0, 1))


def test_a_harmful_row_is_sure_of_its_category_unsure_of_its_kin_and_weakly_against_the_rest():
    heads = told({"drugs": 2}, 1)
    assert heads.pop("drugs") == (1, 1)
    assert heads.pop("any_harm") == (1, 0.6)
    kin = related(["drugs"]) - {"drugs"}
    assert {"crime_other", "self_harm", *NEVER_SURE} <= kin
    assert {name: heads.pop(name) for name in kin} == dict.fromkeys(kin, (0, 0))
    assert heads
    assert set(heads.values()) == {(0, round(WEAK_NEGATIVE, 6))}


def test_harm_of_no_category_teaches_only_that_there_is_harm():
    for labels in ({}, {"ANY": 2}):
        heads = told(labels, 1)
        assert heads.pop("any_harm") == (1, 0.6)
        assert set(heads.values()) == {(0, 0)}


def test_without_a_verdict_only_what_is_labelled_is_known():
    heads = told({"cyber": 3}, None)
    assert heads.pop("cyber") == (1, 1)
    assert {weight for _, weight in heads.values()} == {0}


@pytest.mark.parametrize(
    ("labels", "role", "category", "target"),
    [
        ({"violence": 1}, "user", "violence", MILD_TARGET),
        ({"violence": 2}, "user", "violence", 1),
        ({"violence": 3}, "assistant", "violence", 1),
        ({"mental_distress": 1}, "user", "mental_distress", 1),  # mild distress is distress
        ({"mental_distress": 1}, "assistant", "mental_distress", MILD_TARGET),
    ],
)
def test_a_mild_label_asks_for_a_mild_score(labels, role, category, target):
    assert told(labels, 1, role)[category] == (round(target, 6), 1)


@pytest.mark.parametrize(
    ("labels", "harm", "any_harm"),
    [
        ({"violence": 1}, 1, 0.5),
        ({"violence": 1, "drugs": 2}, 1, 1),
        ({"ANY": 1}, 1, 0.5),
        ({"violence": 1}, 0, 0.2),
        ({"mental_distress": 2}, 0, 0),
    ],
)
def test_harm_of_any_kind_follows_the_severest(labels, harm, any_harm):
    target, weight = told(labels, harm)["any_harm"]
    assert target == any_harm
    assert weight >= 0.6


def test_a_category_said_to_be_absent_is_absent():
    for harm in (0, 1, None):
        assert told({"violence": 0}, harm)["violence"] == (0, 1)
    assert told({"violence": 0}, 1)["any_harm"] == told({}, 1)["any_harm"]
    assert told({"violence": 0}, 0)["any_harm"] == (0, 1)
    # What is absent makes nothing else likely.
    assert told({"violence": 0, "sexual": 2}, 1)["weapons_cbrn"] == told({"sexual": 2}, 1)["weapons_cbrn"]


@pytest.mark.parametrize("source", sorted(TOXIC_COMMENTS))
def test_a_set_of_insults_says_little_about_other_harm(source):
    heads = told({}, 0, source=source)
    assert heads.pop("hate_harassment") == (0, 1)
    assert heads.pop("any_harm") == (0, 0.6)
    assert set(heads.values()) == {(0, round(WEAK_NEGATIVE, 6))}


@pytest.mark.parametrize(("labels", "harm"), list(itertools.product([{}, {"drugs": 2}], [0, 1])))
def test_what_is_said_to_be_unknown_is_masked(labels, harm):
    plain = told(labels, harm)
    heads = told(labels, harm, unknown=["self_harm", "any_harm"])
    assert heads["self_harm"][1] == heads["any_harm"][1] == 0
    for name in set(CATEGORIES) - {"self_harm", "any_harm"}:
        assert heads[name] == plain[name]


LABELS = st.dictionaries(st.sampled_from([*CATEGORIES[:-1], "ANY"]), st.integers(0, 3), max_size=4)


@given(
    LABELS,
    st.sampled_from([0, 1, None]),
    st.sampled_from(["user", "assistant"]),
    st.sampled_from(["x", "edos"]),
)
def test_no_head_is_told_what_nobody_said(labels, harm, role, source):
    heads = told(labels, harm, role, source)
    for name, (target, weight) in heads.items():
        assert 0 <= target <= 1
        assert 0 <= weight <= 1
        assert target == 0 or name == "any_harm" or labels[name] > 0
        assert weight == 1 or name not in labels
