"""The categories and the order in which they are named."""

from __future__ import annotations

import pytest

from guardrail.policy.taxonomy import CATEGORIES, FAILURE, SEVERITIES, rank


def test_care_for_a_person_comes_before_everything():
    assert sorted(CATEGORIES, key=rank)[:2] == ["self_harm", "mental_distress"]


def test_the_category_that_tells_no_kind_comes_last_but_before_unknown_ones():
    assert rank("any_harm") == len(CATEGORIES) - 1
    assert rank("unheard_of") == len(CATEGORIES)


def test_a_failure_to_score_is_no_category_a_policy_can_name():
    assert FAILURE not in CATEGORIES


def test_severities_run_from_mild_to_acute():
    assert SEVERITIES == (1, 2, 3)


def test_the_taxonomy_cannot_be_changed_at_run_time():
    with pytest.raises(TypeError):
        CATEGORIES["new"] = "x"
