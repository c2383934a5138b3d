"""What rows are judged by: a policy, or all of a pack's operating points."""

from __future__ import annotations

import pytest

from classifiers.evaluate.judging import chosen_policy, prepare
from guardrail.engine.pack import load_pack
from guardrail.errors import ConfigError, PackError
from guardrail.testing.scorers import KeywordScorer
from tests.app.helpers import POINTS, POLICY, write_pack


@pytest.fixture
def pack(tmp_path):
    points = {
        "user": {"violence": None, "mental_distress": POINTS, "sexual": POINTS},
        "assistant": dict.fromkeys(("violence", "mental_distress", "sexual"), POINTS),
    }
    return load_pack(write_pack(tmp_path / "toy", operating_points=points))


def thresholds(policy):
    return prepare(KeywordScorer({}), policy).thresholds()


def test_without_a_policy_all_operating_points_are_in_force(pack):
    assert thresholds(chosen_policy([pack], None)) == {
        "user": {"mental_distress": POINTS, "sexual": POINTS},
        "assistant": {"violence": POINTS, "mental_distress": POINTS, "sexual": POINTS},
    }


def test_a_policy_file_decides_what_is_judged(pack, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    assert thresholds(chosen_policy([pack], path)) == {
        "user": {"mental_distress": {2: 0.5}},
        "assistant": {"violence": {2: 0.5, 3: 0.9}},
    }


def test_a_policy_that_asks_for_more_than_the_pack_scores_is_refused(tmp_path):
    narrow = load_pack(write_pack(tmp_path / "narrow", categories=("violence",)))
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    with pytest.raises(ConfigError, match="mental_distress"):
        chosen_policy([narrow], path)


@pytest.mark.parametrize("categories", [("violence", "toxicity"), ("toxicity",)])
def test_a_category_that_no_policy_can_name_is_not_judged(tmp_path, categories):
    pack = load_pack(write_pack(tmp_path / "other", categories=categories))
    judged = thresholds(chosen_policy([pack], None))["assistant"]
    assert set(judged) == set(categories) - {"toxicity"}


def test_operating_points_that_cannot_be_thresholds_are_the_packs_fault(tmp_path):
    pack = load_pack(write_pack(tmp_path / "falling", points={1: 0.9, 2: 0.5, 3: 0.95}))
    with pytest.raises(PackError, match="must not fall as severity rises"):
        chosen_policy([pack], None)
