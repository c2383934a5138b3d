from __future__ import annotations

import numpy as np
import pytest

from classifiers.convert.errors import ConversionError
from classifiers.convert.rotary import tables


def test_a_pair_turns_by_its_rate_each_position():
    cos, sin = tables({"rope_theta": 100.0}, 4, 50)

    assert cos.shape == sin.shape == (50, 2)
    assert np.allclose(cos[:, 0], np.cos(np.arange(50)), atol=1e-5)
    assert np.allclose(sin[:, 1], np.sin(np.arange(50) / 10), atol=1e-5)


def test_both_ways_of_writing_it_are_read():
    old = tables({"rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 4.0}}, 8, 20)
    new = tables({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}}, 8, 20)
    plain = tables({"rope_theta": 5000.0}, 8, 80)

    assert np.array_equal(old, new)
    assert np.allclose(np.array(old)[:, ::4], np.array(plain)[:, :5], atol=1e-5)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"rope_type": "longrope"}, "of type 'longrope'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ],
)
def test_what_is_not_known_is_named(rules, reason):
    with pytest.raises(ConversionError, match=reason):
        tables({"rope_parameters": rules}, 8, 20)
