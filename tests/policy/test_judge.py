"""From scores to verdicts: thresholds, debounce, limits, choice, watching, failure."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.spans import Span
from guardrail.core.verdicts import CLEAR_VERDICT, FailureStance, Kind, Level, Role, TokenScore
from guardrail.policy.judge import LaneJudge
from guardrail.policy.rules import CategoryRules, HoldBackRules, Policy, RoleRules
from guardrail.policy.taxonomy import FAILURE


def rules(interventions, thresholds, **changes) -> CategoryRules:
    names = ("floor", "ceiling", "on_failure", "on_overload")
    limits = {name: changes.pop(name) for name in names if name in changes}
    return CategoryRules(
        assistant=RoleRules(interventions=interventions, thresholds=thresholds, **changes), **limits
    )


def judge_of(debounce_tokens=1, settle_tokens=2, margin=0.05, **categories) -> LaneJudge:
    policy = Policy(
        version=1,
        name="test",
        debounce_tokens=debounce_tokens,
        hold_back=HoldBackRules(settle_tokens=settle_tokens, margin=margin),
        categories=categories,
    )
    return LaneJudge(policy, Role.ASSISTANT)


def tokens(*scores):
    return [
        TokenScore(Span(n * 2, n * 2 + 2), score if isinstance(score, dict) else {"violence": score})
        for n, score in enumerate(scores)
    ]


def verdicts(judge: LaneJudge, *scores):
    return [judge.judge(token) for token in tokens(*scores)]


VIOLENCE = {"violence": rules({2: "redirect", 3: "replace"}, {2: 0.5, 3: 0.8})}


@pytest.mark.parametrize(
    ("score", "severity", "kind"),
    [(0.5, 2, Kind.REDIRECT), (0.79, 2, Kind.REDIRECT), (0.8, 3, Kind.REPLACE), (1.0, 3, Kind.REPLACE)],
)
def test_each_severity_has_its_own_threshold_and_answer(score, severity, kind):
    (verdict,) = verdicts(judge_of(**VIOLENCE), score)
    assert (verdict.level, verdict.decision.kind) == (Level.ACT, kind)
    (finding,) = verdict.findings
    assert (finding.category, finding.severity, finding.score) == ("violence", severity, score)
    assert finding.role is Role.ASSISTANT


def test_under_every_threshold_nothing_is_found():
    (verdict,) = verdicts(judge_of(**VIOLENCE), 0.2)
    assert verdict == CLEAR_VERDICT


def test_a_category_without_rules_is_not_judged():
    (verdict,) = verdicts(judge_of(**VIOLENCE), {"sexual": 1.0})
    assert verdict == CLEAR_VERDICT


def test_a_category_ruled_for_the_other_role_is_not_judged():
    policy = Policy(version=1, name="test", categories=VIOLENCE)
    assert LaneJudge(policy, Role.USER).judge(tokens(1.0)[0]) == CLEAR_VERDICT


def test_a_finding_needs_as_many_tokens_in_a_row_as_the_debounce_says():
    found = verdicts(judge_of(3, **VIOLENCE), 0.9, 0.9, 0.1, 0.9, 0.95, 0.9)
    assert [bool(verdict.findings) for verdict in found] == [False] * 5 + [True]
    (finding,) = found[-1].findings
    assert (finding.span, finding.score) == (Span(6, 12), 0.95)


def test_a_role_can_have_a_debounce_of_its_own():
    judge = judge_of(5, violence=rules({2: "replace"}, {2: 0.5}, debounce_tokens=1))
    assert verdicts(judge, 0.6)[0].findings


def test_a_finding_is_reported_once():
    found = verdicts(judge_of(**VIOLENCE), 0.6, 0.6, 0.1, 0.6)
    assert [len(verdict.findings) for verdict in found] == [1, 0, 0, 0]


def test_a_graver_finding_of_the_same_category_is_reported_again():
    found = verdicts(judge_of(**VIOLENCE), 0.6, 0.9)
    assert [verdict.findings[0].severity for verdict in found] == [2, 3]


def test_a_milder_finding_after_a_graver_one_is_not():
    found = verdicts(judge_of(**VIOLENCE), 0.9, 0.6)
    assert not found[1].findings


def test_a_floor_raises_and_a_ceiling_lowers_what_the_rules_choose():
    judge = judge_of(
        violence=rules({2: "allow"}, {2: 0.5}, floor={2: "redirect"}),
        sexual=rules({2: "replace"}, {2: 0.5}, ceiling={2: "annotate"}),
    )
    assert verdicts(judge, 0.6)[0].decision.kind is Kind.REDIRECT
    judge = judge_of(sexual=rules({2: "replace"}, {2: 0.5}, ceiling={2: "annotate"}))
    (verdict,) = verdicts(judge, {"sexual": 0.6})
    assert (verdict.decision.kind, verdict.level) == (Kind.ANNOTATE, Level.CLEAR)


def test_an_allowed_finding_is_reported_and_nothing_is_done():
    (verdict,) = verdicts(judge_of(violence=rules({2: "allow"}, {2: 0.5})), 0.6)
    assert (verdict.decision, verdict.level, len(verdict.findings)) == (None, Level.CLEAR, 1)


@pytest.mark.parametrize(
    ("categories", "winner"),
    [
        # The most intrusive first,
        ({"self_harm": ("redirect", 3, 0.9), "sexual": ("replace", 1, 0.6)}, "sexual"),
        # then the more severe,
        ({"self_harm": ("replace", 1, 0.9), "sexual": ("replace", 2, 0.6)}, "sexual"),
        # then the category named first in the taxonomy,
        ({"any_harm": ("replace", 2, 0.9), "sexual": ("replace", 2, 0.6)}, "sexual"),
        ({"sexual": ("replace", 2, 0.9), "self_harm": ("replace", 2, 0.6)}, "self_harm"),
    ],
)
def test_of_several_findings_one_decides(categories, winner):
    judge = judge_of(
        **{name: rules({severity: kind}, {severity: 0.5}) for name, (kind, severity, _) in categories.items()}
    )
    (verdict,) = verdicts(judge, {name: score for name, (_, _, score) in categories.items()})
    assert verdict.decision.finding.category == winner
    assert len(verdict.findings) == 2, "all of them are reported"


def test_the_rationale_names_rule_and_numbers_and_no_text():  # invariant 8
    (verdict,) = verdicts(judge_of(**VIOLENCE), 0.61)
    assert verdict.decision.rationale == (
        "assistant violence severity 2: score 0.610 >= 0.500; policy test says redirect"
    )


# -- watching --------------------------------------------------------------------------------------


def levels(judge, *scores):
    return [verdict.level for verdict in verdicts(judge, *scores)]


def test_watching_begins_below_the_threshold_that_intervenes():
    # 0.8 of the lowest one, 0.5, where the policy names no watch threshold.
    assert levels(judge_of(**VIOLENCE), 0.39, 0.4) == [Level.CLEAR, Level.WATCH]


def test_watching_ends_after_enough_tokens_well_below():
    judge = judge_of(settle_tokens=2, **VIOLENCE)
    assert levels(judge, 0.45, 0.36, 0.34, 0.34, 0.34) == [Level.WATCH] * 3 + [Level.CLEAR] * 2


def test_a_margin_wider_than_the_watch_threshold_does_not_hold_a_lane_for_good():
    # Rare categories have low thresholds: 0.8 * 0.05 less the margin of 0.05 is below any score.
    judge = judge_of(settle_tokens=2, margin=0.05, violence=rules({2: "replace"}, {2: 0.05}))
    assert levels(judge, 0.045, 0.0, 0.0) == [Level.WATCH, Level.WATCH, Level.CLEAR]


def test_a_watch_threshold_of_the_policys_own_is_taken():
    judge = judge_of(violence=rules({2: "replace"}, {2: 0.5}, watch=0.1))
    assert levels(judge, 0.1) == [Level.WATCH]


def test_a_watch_threshold_above_the_one_that_intervenes_holds_from_that_one_on():  # invariant 2
    judge = judge_of(3, violence=rules({2: "replace"}, {2: 0.5}, watch=0.9))
    assert levels(judge, 0.5) == [Level.WATCH], "a risk that waits to be confirmed must be held"


def test_a_category_that_only_annotates_is_never_watched():
    assert levels(judge_of(2, violence=rules({2: "annotate"}, {2: 0.5})), 0.9) == [Level.CLEAR]


def test_a_pending_risk_is_located_until_it_is_confirmed_or_gone():
    found = verdicts(judge_of(2, **VIOLENCE), 0.45, 0.6, 0.1)
    assert [verdict.pending_at for verdict in found] == [None, 2, None]


def test_a_pending_risk_is_located_even_where_something_else_is_found():  # invariant 2
    judge = judge_of(2, **VIOLENCE, sexual=rules({1: "annotate"}, {1: 0.5}, debounce_tokens=1))
    (verdict,) = verdicts(judge, {"violence": 0.9, "sexual": 0.9})
    assert verdict.findings
    assert (verdict.level, verdict.pending_at) == (Level.WATCH, 0)


def test_a_run_that_would_only_be_annotated_is_not_pending():
    judge = judge_of(2, violence=rules({2: "annotate", 3: "replace"}, {2: 0.5, 3: 0.9}, watch=0.4))
    (verdict,) = verdicts(judge, 0.6)
    assert (verdict.level, verdict.pending_at) == (Level.WATCH, None)


# -- the end, tentative scores, failure ------------------------------------------------------------


def test_a_risk_waiting_to_be_confirmed_stands_when_no_token_follows():
    judge = judge_of(3, **VIOLENCE)
    verdicts(judge, 0.1, 0.9)
    verdict = judge.finish()
    assert (verdict.level, verdict.decision.kind) == (Level.ACT, Kind.REPLACE)
    assert verdict.findings[0].span == Span(2, 4)


@pytest.mark.parametrize("scores", [(), (0.45,), (0.9, 0.1)])
def test_nothing_stands_at_the_end_where_nothing_waits(scores):
    judge = judge_of(3, **VIOLENCE)
    verdicts(judge, *scores)
    assert judge.finish() == CLEAR_VERDICT


def test_what_was_reported_is_not_reported_again_at_the_end():
    judge = judge_of(1, **VIOLENCE)
    verdicts(judge, 0.9)
    assert judge.finish() == CLEAR_VERDICT


@pytest.mark.parametrize(
    ("before", "tentative", "clear"),
    [
        ((), (0.3, 0.39), True),
        ((), (0.4,), False),
        ((), (0.1, 0.9), False),
        ((0.45,), (0.1,), False),
        ((), (), True),
    ],
)
def test_tentative_tokens_are_clear_when_none_would_be_watched(before, tentative, clear):
    judge = judge_of(**VIOLENCE)
    verdicts(judge, *before)
    assert judge.would_clear(tokens(*tentative)) is clear


def test_looking_at_tentative_tokens_changes_nothing():
    judge = judge_of(2, **VIOLENCE)
    verdicts(judge, 0.6)
    state = copy.deepcopy((judge._watch, judge._tracked))
    judge.would_clear(tokens(0.9, 0.9, 0.9))
    assert (judge._watch, judge._tracked) == state


SCORES = st.lists(st.sampled_from([0.0, 0.3, 0.36, 0.45, 0.6, 0.9]), max_size=6)


@given(before=SCORES, coming=SCORES, debounce=st.integers(1, 3), told=st.booleans())
def test_what_passes_would_have_been_clear_and_changed_nothing(before, coming, debounce, told):
    judge = judge_of(debounce, **VIOLENCE)
    verdicts(judge, *before)
    upcoming = tokens(*coming) if told else [TokenScore(Span(0, 1), {}) for _ in coming]
    state = copy.deepcopy((judge._watch, judge._tracked))
    passes = judge.passes(upcoming)
    assert (judge._watch, judge._tracked) == state
    if passes:
        assert all(judge.judge(token) == CLEAR_VERDICT for token in upcoming)
        assert (judge._watch, judge._tracked) == state


def test_a_threshold_that_is_a_whole_number_is_one():
    judge = judge_of(privacy_pii=rules({1: "mask"}, {1: 1}))
    assert not judge.passes(tokens({"privacy_pii": 1.0}))
    assert judge.passes(tokens({"privacy_pii": 0.99}))


def test_harmless_tokens_pass_a_judge_at_rest_and_no_other():
    judge = judge_of(2, **VIOLENCE)
    assert judge.passes(tokens(0.1, 0.2))
    assert not judge.passes(tokens(0.1, 0.45))
    verdicts(judge, 0.6)  # a run has begun
    assert not judge.passes(tokens(0.1))
    assert judge.passes(())


@pytest.mark.parametrize("stance", ["pass", "hold", "redirect"])
def test_a_failure_is_answered_as_the_policy_says(stance):  # invariant 6
    judge = judge_of(violence=rules({2: "replace"}, {2: 0.5}, on_failure=stance))
    told, decision = judge.failure("error")
    assert told is FailureStance(stance)
    assert (decision.kind, decision.finding.category) == (Kind.REPLACE, FAILURE)
    assert decision.rationale == f"scoring failed (error); on_failure: {stance}"


@pytest.mark.parametrize("reason", ["late", "overload"])
def test_an_engine_that_is_too_slow_is_answered_as_the_policy_says_for_that(reason):  # invariant 6
    judge = judge_of(violence=rules({2: "replace"}, {2: 0.5}, on_failure="redirect", on_overload="pass"))
    told, decision = judge.failure(reason)
    assert told is FailureStance.PASS
    assert decision.rationale == f"scoring failed ({reason}); on_overload: pass"
    assert judge.failure("error")[0] is FailureStance.REDIRECT


def test_the_strictest_category_of_the_role_answers_for_all():
    judge = judge_of(
        violence=rules({2: "replace"}, {2: 0.5}, on_failure="pass"),
        sexual=rules({2: "replace"}, {2: 0.5}, on_failure="hold"),
    )
    assert judge.failure("error")[0] is FailureStance.HOLD


def test_a_policy_without_thresholds_cannot_judge():
    category = CategoryRules(assistant=RoleRules(interventions={2: "replace"}))
    with pytest.raises(ValueError, match="violence: no thresholds"):
        judge_of(violence=category)


def test_a_score_just_at_the_margin_does_not_count_towards_settling():
    judge = judge_of(settle_tokens=1, margin=0.25, violence=rules({2: "replace"}, {2: 0.9}, watch=0.5))
    assert levels(judge, 0.5, 0.25, 0.2) == [Level.WATCH, Level.WATCH, Level.CLEAR]


# -- exact spans -------------------------------------------------------------------------------------------

CARD = {"privacy_pii": rules({2: "mask"}, {2: 0.5})}


def test_every_span_to_mask_is_a_finding_of_its_own_at_once():
    judge = judge_of(debounce_tokens=2, **CARD)
    found = verdicts(judge, *({"privacy_pii": score} for score in (0.6, 0.9, 0.4, 0.5)))
    masked = [[decision.finding.span for decision in verdict.masks] for verdict in found]
    assert masked == [[Span(0, 2)], [Span(2, 4)], [], [Span(6, 8)]]
    assert all(verdict.level is Level.CLEAR and verdict.decision is None for verdict in found)
    assert judge.finish() is CLEAR_VERDICT


def test_a_mask_that_the_policy_debounces_covers_its_run_and_then_token_by_token():
    judge = judge_of(privacy_pii=rules({2: "mask"}, {2: 0.5}, debounce_tokens=2))
    found = verdicts(judge, *({"privacy_pii": score} for score in (0.6, 0.9, 0.8, 0.1, 0.7)))
    masked = [[decision.finding.span for decision in verdict.masks] for verdict in found]
    assert masked == [[], [Span(0, 4)], [Span(4, 6)], [], []]
    assert found[0].level is Level.WATCH, "text that waits for the second token is held"
    (last,) = judge.finish().masks
    assert last.finding.span == Span(8, 10)


def test_a_mask_is_decided_beside_whatever_else_is_found():
    judge = judge_of(**VIOLENCE, **CARD)
    (verdict,) = verdicts(judge, {"violence": 0.6, "privacy_pii": 0.6})
    assert [decision.kind for decision in verdict.masks] == [Kind.MASK]
    assert verdict.decision.kind is Kind.REDIRECT
    assert len(verdict.findings) == 2


def test_a_ceiling_can_lower_a_replacement_to_a_mask():
    judge = judge_of(privacy_pii=rules({2: "replace"}, {2: 0.5}, ceiling={2: "mask"}))
    (verdict,) = verdicts(judge, {"privacy_pii": 0.9})
    assert (verdict.decision, len(verdict.masks)) == (None, 1)


def test_a_token_says_nothing_of_a_category_it_does_not_name():
    judge = judge_of(debounce_tokens=2, settle_tokens=1, **VIOLENCE, **CARD)
    found = verdicts(judge, {"violence": 0.9}, {"privacy_pii": 0.9}, {"violence": 0.9})
    assert [verdict.level for verdict in found] == [Level.WATCH, Level.WATCH, Level.ACT]
    assert found[1].pending_at == 0, "an entity does not settle what waits for its second token"


def test_a_token_that_names_none_says_that_there_is_nothing():
    judge = judge_of(debounce_tokens=2, settle_tokens=1, **VIOLENCE)
    assert [verdict.level for verdict in verdicts(judge, 0.9, {}, 0.9)][1] is Level.CLEAR


@pytest.mark.parametrize(
    ("scores", "level"),
    [
        ({"privacy_pii": 0.0}, Level.WATCH),
        ({"privacy_pii": 0.5}, Level.ACT),
        ({"sexual": 1.0}, Level.CLEAR),  # only annotated
        ({"drugs": 1.0}, Level.CLEAR),  # not judged
        ({}, Level.WATCH),
    ],
)
def test_what_is_pending_is_waited_for_if_something_may_have_to_be_done(scores, level):
    judge = judge_of(sexual=rules({1: "annotate"}, {1: 0.5}), **CARD)
    assert judge.prospect(TokenScore(Span(0, 1), scores, pending=True)) is level


def test_a_span_to_mask_is_not_clear_when_it_is_tried():
    judge = judge_of(**CARD)
    assert judge.would_clear(tokens({"privacy_pii": 0.49}))
    assert not judge.would_clear(tokens({"privacy_pii": 0.5}))


# -- several packs, and exact tokens -----------------------------------------------------------------------

SECRET = {"secret_credential": rules({2: "replace"}, {2: 0.5})}


def exact(start, end, score):
    return TokenScore(Span(start, end), {"secret_credential": score}, exact=True)


def test_a_token_that_does_not_speak_of_a_category_changes_nothing_about_it():
    judge = judge_of(2, **VIOLENCE, **SECRET)
    found = verdicts(judge, {"violence": 0.6}, {"secret_credential": 0.1}, {"violence": 0.6})
    assert [[f.category for f in verdict.findings] for verdict in found] == [[], [], ["violence"]]


def test_an_exact_token_is_found_at_once_with_its_own_span():
    judge = judge_of(3, **SECRET)
    assert judge.judge(exact(0, 4, 0.4)) == CLEAR_VERDICT
    (finding,) = judge.judge(exact(5, 9, 0.6)).findings
    assert (finding.span, finding.score) == (Span(5, 9), 0.6)


def test_an_exact_token_neither_heats_nor_cools_a_lane():
    """What stands in a text says nothing of where it is going; such text waits by being pending."""
    judge = judge_of(2, settle_tokens=2, **VIOLENCE, secret_credential=rules({2: "annotate"}, {2: 0.5}))
    assert judge.judge(exact(0, 4, 0.9)).level is Level.CLEAR
    assert verdicts(judge, {"violence": 0.6})[0].level is Level.WATCH
    assert [judge.judge(exact(n, n + 1, 0.1)).level for n in range(5, 9)] == [Level.WATCH] * 4
