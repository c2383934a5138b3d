"""Delay and leaks of rows whose tokens are laid out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from classifiers.evaluate import onsets
from classifiers.evaluate.scoring import Found, JudgedRow, Trace

NOTHING = np.zeros(1, np.float32)


def judged(onset, scores, found=(), sentence_ends=()):
    """A row of one token a score; ``found`` are the tokens that confirmed a flagging finding."""
    trace = Trace(onset, np.array(scores, np.float32), sentence_ends)
    findings = [Found("violence", 2, token, flags=True) for token in found]
    return JudgedRow(None, len(scores), NOTHING, NOTHING, findings, (), trace)


def row(tokens, onset, found=(), sentence_ends=()):
    return judged(onset, [0.0] * tokens, found, sentence_ends)


# -- delay ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("found", "expected"), [(10, 1), (11, 2), (30, 21), (9, 0), (3, -6)])
def test_the_delay_counts_the_first_harmful_token_as_one(found, expected):
    assert onsets.delay(row(40, 10).trace, found) == expected


def test_the_first_flagging_finding_counts():
    mild = Found("violence", 1, 2, flags=False)
    one = row(40, 10, [25, 14])
    assert onsets.first_finding(JudgedRow(None, 40, NOTHING, NOTHING, [mild, *one.findings])) == 14
    assert onsets.first_finding(JudgedRow(None, 40, NOTHING, NOTHING, [mild])) is None


def test_early_late_and_missed_rows_are_counted_apart():
    rows = [row(40, 10, [4]), row(40, 10, [10]), row(40, 10, [14, 30]), row(40, 10), row(40, 0, [39])]
    measured = onsets.delay_report([*rows, JudgedRow(None, 9, NOTHING, NOTHING)], [])
    assert (measured["rows"], measured["found_before_onset"], measured["missed"]) == (5, 1, 1)
    assert measured["missed_share"] == pytest.approx(1 / 5)
    # Late ones: 1, 5 and 40 tokens.
    assert measured["delay_tokens"]["median"] == 5
    assert measured["delay_tokens"]["p95"] == pytest.approx(5 + 0.9 * 35)
    assert [(b["from"], b["to"], b["rows"]) for b in measured["delay_histogram"]] == [
        (1, 1, 1), (2, 2, 0), (3, 4, 0), (5, 8, 1), (9, 16, 0), (17, 32, 0), (33, 64, 1)
    ]  # fmt: skip


def test_rows_without_an_onset_have_no_delay():
    assert onsets.delay_report([JudgedRow(None, 9, NOTHING, NOTHING)], [0.1] * 100) is None


# -- leaks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hold_back", "expected"),
    # Found at 14: tokens 0 to 13 have left without hold-back, four of them harmful.
    [(0, 4), (1, 3), (2, 2), (4, 0), (8, 0), (32, 0)],
)
def test_a_hold_back_saves_what_it_holds(hold_back, expected):
    assert onsets.leaked(row(40, 10, [14]).trace, 14, hold_back) == expected


def test_nothing_leaks_where_the_first_harmful_token_is_found():
    assert onsets.leaked(row(40, 10).trace, 10, 0) == 0
    assert onsets.leaked(row(40, 10).trace, 3, 0) == 0


@pytest.mark.parametrize("hold_back", [0, 32, onsets.SENTENCE])
def test_what_is_never_found_leaks_whole(hold_back):
    assert onsets.leaked(row(40, 10).trace, None, hold_back) == 30


@pytest.mark.parametrize(
    ("sentence_ends", "expected"),
    [
        ([5, 9, 12, 20], 3),  # the sentence that ends with token 12 has left, tokens 10 to 12 with it
        ([5, 9, 14], 0),  # the one that the finding ends has not
        ([5, 13], 4),
        ([], 0),
    ],
)
def test_with_sentences_held_only_complete_ones_leak(sentence_ends, expected):
    trace = row(40, 10, [14], sentence_ends).trace
    assert onsets.leaked(trace, 14, onsets.SENTENCE) == expected


def test_leaks_are_reported_for_all_rows_and_for_the_found():
    measured = onsets.delay_report([row(40, 10, [14]), row(40, 10, [12]), row(40, 10)], [])["leaked_tokens"]
    assert list(measured) == ["0", "1", "2", "4", "8", "16", "32", "sentence"]
    assert measured["0"]["found_rows"]["mean"] == 3
    assert measured["0"]["all_rows"]["mean"] == 12
    assert measured["2"]["found_rows_without_leak_share"] == 0.5
    assert measured["4"]["found_rows_without_leak_share"] == 1


# -- recall by delay -----------------------------------------------------------------------------------


def test_recall_within_counts_up_and_begins_with_what_was_found_early():
    rows = [row(300, 10, [token]) for token in (4, 10, 13, 30)] + [row(300, 10)]
    within = onsets.delay_report(rows, [])["recall_within"]["operating_points"]
    assert within == {
        "0": 0.2, "1": 0.4, "2": 0.4, "4": 0.6, "8": 0.6, "16": 0.6, "32": 0.8, "64": 0.8, "128": 0.8
    }  # fmt: skip


def test_recall_at_a_false_intervention_rate_takes_its_threshold_from_benign_rows():
    benign = [n / 1000 for n in range(100)]  # 0 to 0.099: one may be over at 1 %, five at 5 %
    late = judged(1, [0.0, 0.0, 0.0985, 0.5])
    faint = judged(1, [0.0, 0.0, 0.0955, 0.0])
    within = onsets.delay_report([late, faint], benign)["recall_within"]
    assert within["0.001"] is None
    assert within["0.01"]["threshold"] == pytest.approx(0.098)
    assert (within["0.01"]["1"], within["0.01"]["2"], within["0.01"]["128"]) == (0, 0.5, 0.5)
    assert within["0.05"]["threshold"] == pytest.approx(0.094)
    assert within["0.05"]["2"] == 1
    assert sum(score > within["0.05"]["threshold"] for score in benign) == 5


def test_benign_rows_that_share_the_threshold_are_not_over_it():
    tied = judged(0, [0.5, 0.5])
    assert onsets.delay_report([tied], [0.5] * 300)["recall_within"]["0.01"]["128"] == 0
