"""Rotary positions: what a model's ``config.json`` says of them, as tables of cosines and sines.

The angle of pair ``i`` of a head's ``D`` numbers at position ``p`` is ``p / theta ** (2 i / D)`` (RoFormer, arXiv
2104.09864). ``linear`` divides all of them by a factor (arXiv 2306.15595); ``llama3`` those whose wave is long against
the positions it was first trained on (Llama 3.1's ``rope_scaling``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.convert.errors import ConversionError

Array = NDArray[np.float32]

_DEFAULT_THETA = 10_000.0


def tables(config: Mapping[str, Any], head_dim: int, positions: int) -> tuple[Array, Array]:
    """Cosines and sines, [positions, head_dim / 2] each.

    Raises:
        ConversionError: the positions are of a kind that is not known here.
    """
    rules = _rules(config)
    if float(rules.get("partial_rotary_factor", 1.0)) != 1.0:
        raise ConversionError("config.json: partial_rotary_factor other than 1 is not supported")
    theta = float(rules.get("rope_theta") or config.get("rope_theta") or _DEFAULT_THETA)
    powers = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    rates = (1.0 / np.float32(theta) ** powers).astype(np.float32)
    kind = str(rules.get("rope_type") or rules.get("type") or "default")
    if kind == "linear":
        rates = rates / np.float32(rules["factor"])
    elif kind == "llama3":
        rates = _llama3(rates, rules)
    elif kind != "default":
        raise ConversionError(
            f"config.json: rotary positions of type {kind!r} are not supported (default, linear, llama3 are)"
        )
    angles = np.arange(positions, dtype=np.float32)[:, None] * rates.astype(np.float32)
    return np.cos(angles), np.sin(angles)


def _rules(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Transformers 5 writes ``rope_parameters``, those before it ``rope_scaling`` and ``rope_theta``."""
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _llama3(rates: Array, rules: Mapping[str, Any]) -> Array:
    factor, original = float(rules["factor"]), float(rules["original_max_position_embeddings"])
    low, high = float(rules["low_freq_factor"]), float(rules["high_freq_factor"])
    waves = 2 * math.pi / rates
    between = (original / waves - low) / (high - low)
    mixed = (1 - between) * rates / factor + between * rates
    slow = np.where(waves > original / low, rates / factor, mixed)
    return np.where(waves < original / high, rates, slow).astype(np.float32)
