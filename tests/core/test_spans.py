"""Spans are half-open, ordered and never negative."""

from __future__ import annotations

import pytest

from guardrail.core.spans import Span


def test_a_span_has_the_length_of_its_interval():
    assert len(Span(3, 7)) == 4
    assert len(Span(3, 3)) == 0


@pytest.mark.parametrize("ends", [(-1, 2), (3, 2)])
def test_an_impossible_interval_is_refused(ends):
    with pytest.raises(ValueError, match="0 <= start <= end"):
        Span(*ends)


def test_shifting_moves_both_ends():
    assert Span(1, 4).shift(10) == Span(11, 14)


def test_spans_sort_by_where_they_begin():
    assert sorted([Span(2, 3), Span(0, 9), Span(0, 1)]) == [Span(0, 1), Span(0, 9), Span(2, 3)]
