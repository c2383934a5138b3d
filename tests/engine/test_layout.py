"""Tokens one after the other, and in rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.layout import layout


def test_lanes_of_different_lengths():
    laid = layout([2, 1, 3], [1, 0, 2])

    assert laid.begins.tolist() == [0, 2, 3]
    assert laid.ends.tolist() == [2, 3, 6]
    assert laid.columns.tolist() == [0, 1, 0, 0, 1, 2]
    assert laid.places.tolist() == [3, 4, 0, 6, 7, 8]
    assert laid.slots[1, :2].tolist() == [0, 1]
    assert laid.slots[0, :1].tolist() == [2]
    assert laid.slots[2].tolist() == [3, 4, 5]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_every_token_is_found_at_its_place(sizes, random):
    rows = random.sample(range(len(sizes)), len(sizes))
    laid = layout(sizes, rows)
    tokens = np.arange(sum(sizes))

    assert laid.slots.shape == (len(sizes), max(sizes))
    assert ((laid.slots >= 0) & (laid.slots < len(tokens))).all()
    assert (laid.slots.reshape(-1)[laid.places] == tokens).all()
    assert (laid.places // max(sizes) == np.repeat(rows, sizes)).all()
    assert (laid.places % max(sizes) == laid.columns).all()
