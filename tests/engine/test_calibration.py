from __future__ import annotations

import math

import numpy as np
import pytest

from guardrail.core.verdicts import Role
from guardrail.engine.calibration import Calibration
from guardrail.engine.pack import load_pack


@pytest.fixture
def calibration(write_pack, tmp_path):
    lines = {
        "user": {"crime": {"scale": 1.0, "offset": 0.0}, "self_harm": {"scale": 2.0, "offset": -1.0}},
        "assistant": {"crime": {"scale": 0.5, "offset": 0.5}, "self_harm": {"scale": 1.0, "offset": 0.0}},
    }
    return Calibration(load_pack(write_pack(tmp_path / "toy", calibration=lines)))


def test_each_role_and_category_has_its_line(calibration):
    logits = np.array([[0.0, 1.0], [-1.0, 0.5]], np.float32)

    def sigmoid(x):
        return pytest.approx(1 / (1 + math.exp(-x)), abs=1e-6)

    assert calibration.scores(Role.USER, logits) == [
        {"crime": sigmoid(0.0), "self_harm": sigmoid(1.0)},
        {"crime": sigmoid(-1.0), "self_harm": sigmoid(0.0)},
    ]
    assert calibration.scores(Role.ASSISTANT, logits) == [
        {"crime": sigmoid(0.5), "self_harm": sigmoid(1.0)},
        {"crime": sigmoid(0.0), "self_harm": sigmoid(0.5)},
    ]


def test_extreme_logits_stay_in_range_without_a_warning(calibration):
    logits = np.full((2, 2), 1e30, np.float32)
    logits[1] *= -1

    high, low = calibration.scores(Role.USER, logits)

    assert high == {"crime": 1.0, "self_harm": 1.0}
    assert low == {"crime": 0.0, "self_harm": 0.0}


def test_no_tokens_give_no_scores(calibration):
    assert calibration.scores(Role.USER, np.zeros((0, 2), np.float32)) == []
