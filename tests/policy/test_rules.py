"""What a policy can say, and what must hold between its keys."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from guardrail.core.verdicts import FailureStance, Kind, Role
from guardrail.policy.rules import (
    CategoryRules,
    HoldBackRules,
    PackRules,
    Policy,
    RoleRules,
    Timing,
    kind,
    with_operating_points,
)

RULES = RoleRules(interventions={2: "replace"}, thresholds={2: 0.5})


def policy(**changes) -> Policy:
    return Policy(
        **({"version": 1, "name": "test", "categories": {"violence": CategoryRules(user=RULES)}} | changes)
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"interventions": {}}, "interventions is empty"),
        ({"interventions": {1: "annotate"}, "thresholds": {2: 0.5}}, "they must be the same"),
        ({"interventions": {1: "annotate"}, "thresholds": {1: 0.0}}, "over 0 and at most 1"),
        ({"interventions": {1: "annotate"}, "thresholds": {1: 1.01}}, "over 0 and at most 1"),
        ({"interventions": {1: "annotate"}, "thresholds": {1: nan}}, "over 0 and at most 1"),
        ({"interventions": {1: "annotate"}, "watch": 0.0}, "watch must be over 0"),
        ({"interventions": {1: "annotate"}, "debounce_tokens": 0}, "debounce_tokens must be at least 1"),
        (
            {"interventions": {1: "annotate", 2: "replace"}, "thresholds": {1: 0.9, 2: 0.5}},
            "must not fall as severity rises",
        ),
    ],
)
def test_a_roles_rules_that_make_no_sense_are_refused(values, reason):
    with pytest.raises(ValueError, match=reason):
        RoleRules(**values)


def test_equal_thresholds_are_allowed():
    assert RoleRules(interventions={1: "annotate", 2: "replace"}, thresholds={1: 0.5, 2: 0.5})


def test_a_ceiling_below_its_floor_is_refused():
    with pytest.raises(ValueError, match="severity 2: ceiling annotate lies below floor redirect"):
        CategoryRules(floor={2: "redirect"}, ceiling={2: "annotate"})


@pytest.mark.parametrize(
    ("chosen", "clamped"),
    [
        (Kind.ALLOW, Kind.ANNOTATE),
        (Kind.ANNOTATE, Kind.ANNOTATE),
        (Kind.REDIRECT, Kind.REDIRECT),
        (Kind.REPLACE, Kind.REDIRECT),
    ],
)
def test_what_is_chosen_is_kept_between_floor_and_ceiling(chosen, clamped):
    rules = CategoryRules(floor={2: "annotate"}, ceiling={2: "redirect"})
    assert rules.clamp(chosen, 2) is clamped
    assert rules.clamp(chosen, 3) is chosen, "limits hold for the severity they name"


@pytest.mark.parametrize(
    "values",
    [
        {"open_word_deadline_ms": -1},
        {"open_word_deadline_ms": nan},
        {"open_word_deadline_ms": inf},
        {"scoring_deadline_ms": 0},
        {"scoring_deadline_ms": 20, "abandon_ms": 10},
        {"abandon_ms": inf},
        {"scoring_deadline_ms": nan},
    ],
    ids=str,
)
def test_every_wait_has_an_end(values):  # invariant 10
    with pytest.raises(ValueError):
        Timing(**values)


@pytest.mark.parametrize(
    "values", [{"max_held_chars": 79}, {"settle_tokens": 0}, {"margin": 1.0}, {"margin": nan}]
)
def test_hold_back_needs_room_and_an_end(values):
    with pytest.raises(ValueError, match="needs max_held_chars"):
        HoldBackRules(**values)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"categories": {}}, "would guard nothing"),
        (
            {"categories": {"violense": CategoryRules(user=RULES)}},
            "unknown category 'violense'; known: self_harm",
        ),
        ({"debounce_tokens": 0}, "debounce_tokens must be at least 1"),
    ],
)
def test_a_policy_that_guards_nothing_or_the_unknown_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        policy(**changes)


@pytest.mark.parametrize(
    ("stances", "strictest"),
    [
        (["pass", "pass"], FailureStance.PASS),
        (["pass", "hold"], FailureStance.HOLD),
        (["redirect", "hold"], FailureStance.REDIRECT),
        (["pass", None], FailureStance.HOLD),
    ],
)
def test_the_strictest_failure_stance_of_a_role_wins(stances, strictest):  # invariant 6
    names = ["violence", "sexual"]
    categories = {
        name: CategoryRules(user=RULES, on_failure=s) for name, s in zip(names, stances, strict=True)
    }
    assert policy(categories=categories, on_failure="hold").stance(Role.USER) is strictest


@pytest.mark.parametrize(
    ("policys", "categorys", "overload", "failure"),
    [
        ({}, {}, "redirect", "redirect"),
        ({"on_failure": "hold"}, {}, "hold", "hold"),
        ({"on_overload": "pass"}, {}, "pass", "redirect"),
        ({"on_overload": "pass"}, {"on_failure": "hold"}, "pass", "hold"),
        ({"on_overload": "pass"}, {"on_overload": "hold"}, "hold", "redirect"),
        ({}, {"on_failure": "pass"}, "pass", "pass"),
    ],
)
def test_overload_has_a_stance_of_its_own_or_that_of_failure(policys, categorys, overload, failure):
    under = policy(categories={"violence": CategoryRules(user=RULES, **categorys)}, **policys)
    assert under.stance(Role.USER, overload=True).value == overload
    assert under.stance(Role.USER).value == failure


def test_the_strictest_overload_stance_of_a_role_wins():
    categories = {
        "violence": CategoryRules(user=RULES, on_overload="pass"),
        "sexual": CategoryRules(user=RULES, on_overload="hold"),
    }
    assert policy(categories=categories).stance(Role.USER, overload=True) is FailureStance.HOLD


def test_a_category_not_judged_for_a_role_has_no_say_in_its_stance():
    categories = {
        "violence": CategoryRules(user=RULES, on_failure="redirect"),
        "sexual": CategoryRules(assistant=RULES, on_failure="pass"),
    }
    assert policy(categories=categories).stance(Role.ASSISTANT) is FailureStance.PASS


def test_a_role_nobody_judges_takes_the_policys_own_stance():
    assert policy(on_failure="hold").stance(Role.ASSISTANT) is FailureStance.HOLD


def test_an_intervention_is_found_by_its_word():
    assert kind("redirect") is Kind.REDIRECT


OPEN = RoleRules(interventions={2: "annotate", 3: "replace"})
POINTS = {1: 0.3, 2: 0.6, 3: 0.9}


def test_the_packs_operating_points_fill_in_what_the_policy_leaves_open():
    before = policy(categories={"violence": CategoryRules(user=OPEN, assistant=RULES)})
    after = with_operating_points(
        before, {Role.USER: {"violence": POINTS}, Role.ASSISTANT: {"violence": POINTS}}
    )
    rules = after.categories["violence"]
    assert rules.user.thresholds == {2: 0.6, 3: 0.9}
    assert rules.assistant == RULES, "thresholds of the policy's own stay"


@pytest.mark.parametrize("points", [{"violence": None}, {}])
def test_a_category_the_pack_advises_against_is_switched_off_for_that_role(points):
    before = policy(categories={"violence": CategoryRules(user=OPEN, assistant=OPEN)})
    after = with_operating_points(before, {Role.USER: points, Role.ASSISTANT: {"violence": POINTS}})
    assert after.categories["violence"].user is None
    assert after.categories["violence"].assistant is not None


def test_thresholds_of_the_policys_own_stand_against_the_packs_advice():
    before = policy(categories={"violence": CategoryRules(user=RULES)})
    after = with_operating_points(before, {Role.USER: {"violence": None}, Role.ASSISTANT: {}})
    assert after == before


def test_operating_points_leave_everything_else_alone():
    before = policy(mode="observe", debounce_tokens=4)
    after = with_operating_points(before, {Role.USER: {}, Role.ASSISTANT: {}})
    assert replace(after, categories=before.categories) == before


def test_values_at_the_edge_of_what_is_allowed_are_allowed():
    assert RoleRules(interventions={1: "annotate"}, thresholds={1: 1.0}, watch=1.0, debounce_tokens=1)
    assert CategoryRules(floor={2: "redirect"}, ceiling={2: "redirect"})
    assert Timing(open_word_deadline_ms=0, scoring_deadline_ms=50, abandon_ms=50)
    assert HoldBackRules(max_held_chars=80, settle_tokens=1, margin=0)
    assert policy(debounce_tokens=1)


@pytest.mark.parametrize(
    "rules",
    [
        {"user": RoleRules(interventions={2: "annotate", 3: "mask"})},
        {"user": RoleRules(interventions={3: "annotate"}), "floor": {3: "mask"}},
        {"user": RoleRules(interventions={3: "replace"}), "ceiling": {3: "mask"}},
    ],
)
def test_what_a_user_says_cannot_be_masked(rules):
    with pytest.raises(ValueError, match=r"user\.interventions: severity 3 would be masked, but .* annotate"):
        CategoryRules(**rules)


def test_what_a_model_says_can_be_masked_beside_an_annotation_of_the_users():
    masked = RoleRules(interventions={3: "mask"})
    rules = CategoryRules(user=RoleRules(interventions={3: "annotate"}), assistant=masked)
    assert rules.clamp(Kind.ANNOTATE, 3) < rules.clamp(kind("mask"), 3) < Kind.REDIRECT


def test_a_watch_threshold_for_what_a_user_says_is_refused():
    watched = RoleRules(interventions={2: "replace"}, thresholds={2: 0.5}, watch=0.4)
    with pytest.raises(ValueError, match="not held back"):
        CategoryRules(user=watched)


@pytest.mark.parametrize("locale", ["de", "en-GB", "zh-Hant-TW", ""])
def test_a_default_locale_is_a_language_tag(locale):
    assert policy(default_locale=locale)


@pytest.mark.parametrize("locale", ["German", "de_AT", "-", "de-"])
def test_a_default_locale_that_is_no_language_tag_is_refused(locale):
    with pytest.raises(ValueError, match="BCP 47"):
        policy(default_locale=locale)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({}, ("default",)),
        ({"pack": "mine"}, ("mine",)),
        ({"packs": [PackRules(pack="default"), PackRules(pack="entities")]}, ("default", "entities")),
    ],
)
def test_a_policy_names_one_pack_or_several(keys, names):
    policy = Policy(version=1, name="t", categories={"violence": CategoryRules()}, **keys)
    assert policy.pack_names == names


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"pack": "a", "packs": [PackRules(pack="b")]}, "pack and packs are both given"),
        ({"packs": [PackRules(pack="a"), PackRules(pack="a")]}, "must name each pack once"),
        ({"packs": [PackRules(pack="")]}, "must name each pack once"),
    ],
)
def test_packs_that_cannot_be_meant_are_refused(keys, reason):
    with pytest.raises(ValueError, match=reason):
        Policy(version=1, name="t", categories={"violence": CategoryRules()}, **keys)
