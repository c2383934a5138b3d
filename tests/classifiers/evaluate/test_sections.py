"""Which rows go into which number: small sets whose results can be counted."""

from __future__ import annotations

import numpy as np
import pytest

from classifiers.evaluate import sections
from classifiers.evaluate.measures import wilson
from classifiers.evaluate.scoring import Found, JudgedRow, judge
from guardrail.core.verdicts import Role
from tests.classifiers.evaluate.keyword_rows import CATEGORIES, judging, row


async def judged(*rows):
    return await judge(judging(), rows, 4, lambda _done, _rows: None)


# -- performance ---------------------------------------------------------------------------------------


async def test_decisions_and_rankings_of_a_set():
    rows = await judged(
        row("doom doom here", 1),  # found by the stream, gone at the end
        row("ends in doom", 1),  # found both ways
        row("quiet harm", 1),
        row("nothing here", 0),
        row("doom doom all over", 0),
        row("no verdict, doom doom", None),
    )
    measured = sections.performance(rows, CATEGORIES)
    at = measured["operating_points"]
    assert (measured["rows"], measured["without_verdict"], measured["tokens"]) == (6, 1, 19)
    assert (at["true_findings"], at["false_findings"], at["harmful"], at["harmless"]) == (2, 1, 3, 2)
    assert at["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    # The whole text shows one of three, and nothing false.
    assert at["full_text_f1"] == pytest.approx(2 / (2 + 2))
    assert at["streaming_cost_points"] == pytest.approx(100 * (1 / 2 - 2 / 3))
    # Highest tokens: .9 .9 0 against 0 .9; last tokens: 0 .9 0 against 0 0.
    assert measured["rankings"]["as_streamed"]["auc"] == pytest.approx((1 + 0.5 + 1 + 0.5 + 0.5) / 6)
    assert measured["rankings"]["full_text"]["auc"] == pytest.approx((0.5 + 0.5 + 1 + 1 + 0.5 + 0.5) / 6)


async def test_the_highest_category_is_a_ranking_of_its_own():
    # any_harm is silent about "tears" and "odd"; other categories are not.
    rows = await judged(row("tears", 1), row("odd", 0))
    ranks = sections.performance(rows, CATEGORIES)["rankings"]
    assert ranks["as_streamed"]["auc"] == 0.5
    assert ranks["as_streamed_highest_category"]["auc"] == 1


async def test_distress_found_in_harmless_rows_about_distress_is_not_false():
    about = {"mental_distress": 1}
    rows = await judged(
        row("tears tears", 0, labels=about), row("tears tears", 0), row("doom doom", 0, labels=about)
    )
    assert sections.performance(rows, CATEGORIES)["operating_points"]["false_findings"] == 2


async def test_a_set_of_one_kind_has_shares_and_no_ranking():
    measured = sections.performance(await judged(row("doom doom", 0)), CATEGORIES)
    assert measured["rankings"]["as_streamed"] is None
    assert measured["operating_points"]["false_finding_share"] == 1
    assert measured["operating_points"]["streaming_cost_points"] is None


# -- curves --------------------------------------------------------------------------------------------


async def test_a_set_without_benign_rows_is_held_against_those_of_its_role():
    harmful = await judged(row("doom doom", 1), row("calm", 1))
    benign = await judged(row("grim", 0), row("calm", 0), row("calm", 0), row("doom doom", 0))
    curve = sections.set_curve(harmful, benign, CATEGORIES)
    assert (curve["benign_rows"], curve["benign_rows_are"]) == (4, "all of the role")
    assert curve["operating_point"] == [0.5, 0.5]
    own = sections.set_curve([*harmful, benign[1]], benign, CATEGORIES)
    assert (own["benign_rows"], own["benign_rows_are"], own["operating_point"]) == (1, "own", [0, 0.5])
    assert sections.set_curve(benign, benign, CATEGORIES) is None


# -- false interventions -------------------------------------------------------------------------------


async def test_false_interventions_by_role_group_and_source():
    rows = await judged(
        *[row(f"calm words {n}", 0, group="ordinary", source="a") for n in range(8)],
        row("grim grim words", 0, group="ordinary", source="b"),
        row("odd odd words", 0, group="constructive", source="b"),
        row("doom doom", 0, role=Role.USER),
        row("doom doom", 1, group="ordinary", source="a"),
    )
    table = {
        tuple(entry[key] for key in ("role", "group", "source") if key in entry): entry
        for entry in sections.false_interventions(rows)
    }
    assert set(table) == {
        ("assistant",), ("assistant", "ordinary"), ("assistant", "constructive"), ("user",), ("user", "benign"),
        ("assistant", "ordinary", "a"), ("assistant", "ordinary", "b"), ("assistant", "constructive", "b"),
        ("user", "benign", "own"),
    }  # fmt: skip
    whole = table["assistant",]
    assert (whole["rows"], whole["tokens"]) == (10, 30)
    assert [whole["severities"][level]["rows"] for level in "123"] == [2, 1, 0]
    clear = whole["severities"]["2"]
    assert clear["answers"] == {"share": 0.1, "interval": wilson(1, 10)}
    assert clear["tokens"]["per_1000"] == pytest.approx(1000 / 30)
    assert clear["tokens"]["interval"] == pytest.approx([1000 * end for end in wilson(1, 30)])
    assert clear["categories"] == {"violence": 1}
    assert table["user",]["severities"]["3"]["rows"] == 1


# -- categories ----------------------------------------------------------------------------------------


def scored(harm, labels, violence, findings=()):
    scores = np.array([0.0, 0.0, violence], np.float32)
    return JudgedRow(row("x", harm, labels=labels), 4, scores, scores, findings)


def test_a_category_is_measured_on_rows_that_are_labelled():
    hit = [Found("violence", 2, 1, flags=True)]
    other = [Found("mental_distress", 2, 1, flags=True)]
    mild = [Found("violence", 1, 1, flags=False)]
    rows = [
        scored(1, {"violence": 2}, 0.95, hit),
        scored(1, {"violence": 3}, 0.55, other),
        scored(1, {"violence": 2}, 0.15, mild),
        scored(1, {"violence": 1}, 0.95, hit),  # mild: on neither side
        scored(1, {"drugs": 2}, 0.95, hit),  # unknown
        scored(0, {}, 0.05, ()),
        scored(0, {}, 0.85, hit),
    ]
    thresholds = {"assistant": {"violence": {1: 0.1, 2: 0.5, 3: 0.9}}, "user": {}}
    table = {entry["category"]: entry for entry in sections.by_category(rows, CATEGORIES, thresholds)}
    violence = table["violence"]
    assert (violence["known"], violence["positive"]) == (5, 3)
    at = violence["operating_points"]
    assert (at["true_findings"], at["false_findings"]) == (1, 1)
    assert at["recall_any_category"] == pytest.approx(2 / 3)
    assert at["recall_by_source"] == {"own": {"positive": 3, "recall": pytest.approx(1 / 3)}}
    # (.95 .55 .15) against (.05 .85): 4 of 6 pairs.
    assert violence["as_streamed"]["auc"] == pytest.approx(4 / 6)
    assert violence["thresholds"] == {"1": 0.1, "2": 0.5, "3": 0.9}
    expected = (0.05 + 0.45 + 0.85 + 0.05 + 0.85) / 5
    assert violence["calibration"]["expected_calibration_error"] == pytest.approx(expected, abs=1e-6)
    assert (table["mental_distress"]["known"], table["mental_distress"]["operating_points"]) == (2, None)
    assert table["any_harm"]["known"] == 6
