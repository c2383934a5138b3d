from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.labels import LabelOdds
from guardrail.engine.pack import load_pack

FEEDS = {"hate_harassment": ["insult"], "violence": ["threat", "insult"]}


@pytest.fixture(scope="module")
def odds(write_window_pack, tmp_path_factory):
    def load(activation):
        directory = tmp_path_factory.mktemp(activation) / "toy"
        return LabelOdds(load_pack(write_window_pack(directory, activation=activation, categories=FEEDS)))

    return {activation: load(activation) for activation in ("sigmoid", "softmax")}


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


ROWS = st.lists(st.tuples(*[st.floats(-20, 20, width=32)] * 3), min_size=1, max_size=5)


@given(ROWS)
def test_labels_that_stand_for_themselves_count_by_the_riskiest(odds, rows):
    labels = np.array(rows, np.float32)  # fine, insult, threat

    assert odds["sigmoid"].logits(labels) == pytest.approx(
        np.stack([labels[:, 1], np.maximum(labels[:, 1], labels[:, 2])], axis=1)
    )


@given(ROWS)
def test_labels_that_exclude_each_other_add_up_to_the_classifiers_own_probability(odds, rows):
    labels = np.array(rows, np.float32)
    shares = np.exp(labels.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)

    assert sigmoid(odds["softmax"].logits(labels)) == pytest.approx(
        np.stack([shares[:, 1], shares[:, 1] + shares[:, 2]], axis=1), abs=1e-5
    )


def test_extreme_logits_stay_finite_without_a_warning(odds):
    labels = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4]], np.float32)

    for activation in odds:
        assert np.isfinite(odds[activation].logits(labels)).all()
