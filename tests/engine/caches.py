"""Caches of a small network with content that can be told apart: values are the keys, negated and turned."""

from __future__ import annotations

import numpy as np

from guardrail.engine.cache import Geometry

SIZES = Geometry(layers=2, heads=3, head_dim=2, max_positions=100, dtype=np.dtype(np.int8))


def some(tokens, seed=0):
    """New keys and values of ``tokens`` tokens, as a step gives them."""
    keys = np.random.default_rng(seed).integers(-99, 100, (2, tokens, 3, 2), np.int8)
    return keys, -keys


def content(cache):
    """The keys a cache remembers, [layers, length, heads, head_dim]; its values have been compared with them."""
    if cache.length == 0:
        return some(0)[0]
    keys, values = cache.slab.read(0, cache.length)
    assert (keys == -values.swapaxes(-1, -2)).all()
    return keys.transpose(0, 3, 1, 2)
