"""The pack that ships finds what is made up for it, and leaves alone what only looks like it."""

from __future__ import annotations

import pytest

from classifiers.entities.__main__ import measure
from classifiers.entities.cases import cases
from guardrail.engine.pack import load_pack


@pytest.fixture(scope="module")
def tallies():
    return measure(load_pack("entities"), cases(25, seed=15))


def test_every_category_of_the_pack_has_cases_of_both_kinds(tallies):
    assert set(tallies) == set(load_pack("entities").categories)
    assert all(tally.found + tally.missed and tally.rejected + tally.false for tally in tallies.values())


def test_precision_and_recall_are_those_of_the_card_or_better(tallies):
    assert {name for name, tally in tallies.items() if tally.precision < 0.98 or tally.recall < 0.95} == set()


def test_the_same_seed_makes_the_same_cases():
    assert list(cases(2)) == list(cases(2))
    assert list(cases(2)) != list(cases(2, seed=1))
