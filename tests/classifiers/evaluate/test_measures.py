"""Measures against values worked out by hand, and against other ways to the same number."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_score, recall_score

from classifiers.evaluate import measures

# -- rankings ------------------------------------------------------------------------------------------


def test_auc_counts_pairs_and_halves_ties():
    # Pairs (harmful, harmless): (.9,.1) (.9,.4) (.4,.1) are won, (.4,.4) is a tie: 3.5 of 4.
    found = measures.ranking([0.9, 0.4, 0.4, 0.1], [1, 1, 0, 0])
    assert found["auc"] == pytest.approx(3.5 / 4)


def test_average_precision_adds_up_the_recall_gained():
    # From the top: harmful (1/1), harmless, harmful (2/3): 0.5 x 1 + 0.5 x 2/3.
    found = measures.ranking([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0])
    assert found["average_precision"] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_the_best_f1_comes_with_the_threshold_that_reaches_it():
    scores, harm = [0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0]
    found = measures.ranking(scores, harm)
    assert found["best_f1"] == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert f1_score(harm, [s >= found["threshold"] for s in scores]) == pytest.approx(found["best_f1"])


def test_points_of_the_precision_recall_curve_are_what_their_thresholds_do():
    rng = np.random.default_rng(3)
    scores, harm = rng.random(200), rng.integers(0, 2, 200)
    points = measures.ranking(scores.tolist(), harm.tolist())["precision_recall"]
    assert 2 < len(points) <= measures.CURVE_POINTS
    for threshold, precision, recall in points:
        found = scores >= threshold
        assert precision == pytest.approx(precision_score(harm, found))
        assert recall == pytest.approx(recall_score(harm, found))


@pytest.mark.parametrize("harm", [[1, 1], [0, 0], []])
def test_a_ranking_needs_both_kinds(harm):
    assert measures.ranking([0.5] * len(harm), harm) is None


def test_the_curve_holds_both_ends_and_the_rates_of_a_threshold():
    curve = measures.false_intervention_curve([0.9, 0.3], [0.5, 0.1, 0.1, 0.1])
    assert curve[0] == [0.0, 0.0]
    assert curve[-1] == [1.0, 1.0]
    # At 0.9 half of the harmful rows and none of the others; at 0.3 all of them and one in four.
    assert [0.0, 0.5] in curve
    assert [0.25, 1.0] in curve
    assert measures.false_intervention_curve([0.9], []) is None
    assert measures.false_intervention_curve([], [0.1]) is None


# -- decisions -----------------------------------------------------------------------------------------


def test_decisions_by_hand():
    found = [True] * 3 + [False] + [True] * 2 + [False] * 8
    harm = [1] * 4 + [0] * 10
    measured = measures.decisions(found, harm)
    assert (measured["true_findings"], measured["false_findings"]) == (3, 2)
    assert (measured["harmful"], measured["harmless"]) == (4, 10)
    assert measured["precision"] == pytest.approx(3 / 5)
    assert measured["recall"] == pytest.approx(3 / 4)
    assert measured["missed_share"] == pytest.approx(1 / 4)
    assert measured["false_finding_share"] == pytest.approx(2 / 10)
    assert measured["f1"] == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))
    assert measured["recall_interval"] == measures.wilson(3, 4)
    assert measured["false_finding_interval"] == measures.wilson(2, 10)


def test_what_has_no_denominator_is_not_measured():
    benign = measures.decisions([True, False], [0, 0])
    assert (benign["recall"], benign["f1"], benign["missed_share"]) == (None, None, None)
    assert benign["precision"] == 0
    harmful = measures.decisions([False], [1])
    assert (harmful["precision"], harmful["false_finding_share"], harmful["f1"]) == (None, None, 0)


# -- Wilson's interval ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "trials"), [(0, 40), (1, 40), (7, 20), (20, 20), (3, 100_000)])
def test_the_interval_is_wilsons(count, trials):
    expected = binomtest(count, trials).proportion_ci(confidence_level=0.95, method="wilson")
    assert measures.wilson(count, trials) == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_the_interval_by_hand():
    # 0 of n: from 0 to z^2 / (n + z^2).
    z2 = 1.959964**2
    assert measures.wilson(0, 10) == pytest.approx([0, z2 / (10 + z2)], abs=1e-6)
    assert measures.wilson(0, 0) is None


# -- calibration ---------------------------------------------------------------------------------------


def test_calibration_error_by_hand():
    scores = [0.05, 0.05, 0.85, 0.85, 0.85, 1.0]
    present = [0, 1, 1, 1, 0, 1]
    measured = measures.calibration(scores, present)
    # |0.05-1/2| x 2/6 + |0.85-2/3| x 3/6 + |1-1| x 1/6
    expected = 0.45 * 2 / 6 + (0.85 - 2 / 3) * 3 / 6
    assert measured["expected_calibration_error"] == pytest.approx(expected)
    assert (measured["rows"], measured["positive"], measured["bins"]) == (6, 4, 10)
    assert [row["bin"] for row in measured["reliability"]] == [0.0, 0.8, 0.9]
    assert sum(row["rows"] for row in measured["reliability"]) == 6


def test_scores_that_are_frequencies_have_no_calibration_error():
    scores = [0.25] * 4 + [0.75] * 4
    present = [1, 0, 0, 0, 1, 1, 1, 0]
    assert measures.calibration(scores, present)["expected_calibration_error"] == pytest.approx(0)
    assert measures.calibration([], [])["expected_calibration_error"] is None


def test_quantiles_of_nothing_and_of_something():
    assert measures.quantiles([]) == {"median": None, "p95": None, "mean": None}
    assert measures.quantiles(list(range(101))) == {"median": 50, "p95": 95, "mean": 50}
