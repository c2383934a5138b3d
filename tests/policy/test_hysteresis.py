"""How risk moved: debounce and settling."""

from __future__ import annotations

import pytest

from guardrail.core.spans import Span
from guardrail.policy.hysteresis import Run, Watch


def feed(run: Run, scores):
    return [run.add(score, Span(n, n + 1)) for n, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("debounce", "scores", "confirmed"),
    [
        (1, [0.4, 0.5, 0.4], [False, True, False]),
        (2, [0.5, 0.4, 0.5, 0.6], [False, False, False, True]),
        (3, [0.9, 0.9, 0.9, 0.9], [False, False, True, True]),
    ],
)
def test_a_run_is_confirmed_by_that_many_tokens_in_a_row(debounce, scores, confirmed):
    assert feed(Run(0.5, debounce), scores) == confirmed


def test_a_run_remembers_where_it_began_and_how_high_it_rose():
    run = Run(0.5, 2)
    feed(run, [0.9, 0.1, 0.6, 0.8, 0.7])
    assert (run.span, run.peak) == (Span(2, 5), 0.8)


def test_a_broken_run_starts_again_from_nothing():
    run = Run(0.5, 2)
    feed(run, [0.99, 0.1])
    assert (run.count, run.peak) == (0, 0.0)


def watch(settle_tokens, steps):
    watching = Watch(settle_tokens)
    return [watching.add(hot=step == "H", cool=step == "c") for step in steps]


def test_a_hot_token_starts_watching_and_enough_cool_ones_end_it():
    assert watch(2, "cHcc") == [False, True, True, False]


def test_a_token_that_is_neither_hot_nor_cool_starts_the_count_again():
    assert watch(2, "Hc-cc") == [True, True, True, True, False]


def test_a_lukewarm_token_alone_does_not_start_watching():
    assert watch(2, "-c-") == [False, False, False]


def test_alternating_hot_and_cool_is_watched_throughout():
    assert watch(2, "HcHcHcH") == [True] * 7


def test_an_exact_token_is_a_confirmed_run_of_its_own_or_nothing():
    run = Run(0.5, 3)
    feed(run, [0.9])
    assert (run.stand(0.4, Span(1, 2)), run.count) == (False, 1)
    assert run.stand(0.7, Span(4, 9))
    assert (run.span, run.peak) == (Span(4, 9), 0.7)
