"""What one step of a rounded number stands for, place by place: fixed when a pack is written, from ``Ranges``."""

from __future__ import annotations

import math

import numpy as np

from classifiers.default.architecture import Architecture
from classifiers.default.ranges import Floats, Ranges

HIGHEST_WEIGHT = 127
"""Of a rounded weight, and of activations about their zero."""
HIGHEST_STATE = 63
"""Of keys and values."""


class Scales:
    """The scales of a network.

    Args:
        measured: how large activations are kept.
        arch: its sizes.
    """

    def __init__(self, measured: Ranges, arch: Architecture) -> None:
        queries, keys, values = (measured.states[:, part] for part in range(3))
        self.keys = _steps(keys, HIGHEST_STATE)
        """Of each channel, [layers, hidden]."""
        self.values = _steps(values, HIGHEST_STATE)
        """Of each channel, [layers, hidden]."""
        # A query is multiplied with keys in steps, so their scales go into it; and that of the softmax.
        queries = queries * self.keys / math.sqrt(arch.head_dim)
        by_head = queries.reshape(arch.layers, arch.heads, arch.head_dim).max(axis=2)
        self.queries = _steps(by_head, HIGHEST_WEIGHT)
        """Of each head, [layers, heads]."""
        self._inputs = _steps(measured.inputs, HIGHEST_WEIGHT)

    def into(self, label: str) -> Floats:
        """Of each channel that comes into the product ``layers.i.qkv``, ``inner`` or ``attention_out``, [K]."""
        _, index, part = label.split(".")
        if part == "attention_out":
            return np.asarray(self.values[int(index)])
        return np.asarray(self._inputs[int(index), ("qkv", "inner").index(part)])


def _steps(highest: Floats, most: int) -> Floats:
    """The step with which ``highest`` is ``most`` steps."""
    return np.asarray(np.maximum(highest, 1e-9) / most, np.float32)
