"""The ladder of interventions is an order that policies and comparisons rest on."""

from __future__ import annotations

from guardrail.core.verdicts import CLEAR_VERDICT, Kind, Level


def test_interventions_are_ordered_from_least_to_most_intrusive():
    labels = [kind.label for kind in sorted(Kind)]
    assert labels == ["allow", "annotate", "guide", "mask", "redirect", "rewrite", "steer", "replace", "stop"]


def test_a_decision_outranks_watching_and_watching_outranks_calm():
    assert Level.CLEAR < Level.WATCH < Level.ACT


def test_the_clear_verdict_asks_for_nothing():
    assert CLEAR_VERDICT.level is Level.CLEAR
    assert CLEAR_VERDICT.decision is None
    assert not CLEAR_VERDICT.findings
    assert CLEAR_VERDICT.pending_at is None
