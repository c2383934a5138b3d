"""The step in integers: exact, so that a score cannot depend on how a text was cut or what else is in the batch.

Every sum over channels or positions is a sum of integers, which has no order of summation; what is left in float is
done number by number or token by token (norms, the rounding of a token's own activations). So a token's keys, values
and logits are the same bits whether it was fed alone or with a thousand others (``docs/adr/0014``). And 8-bit
products are what current CPUs do fastest.

- *Products*: weights are int8 with a scale an output, activations uint8 about 128 with a scale a token. After Gelu,
  whose output is above -0.17, activations are shifted by that much instead and use all of uint8.
- *Keys and values* are int8 with a scale a channel, fixed when the graph is written (``ranges``); the keys' scales go
  into the query's weights. They are kept in -63..63: with uint8 on the other side two products then fit the 16 bits in
  which CPUs without VNNI add them.
- *Attention weights*: ``round(255 * exp(score - highest))``, uint8; what they are divided by is their own sum.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from classifiers.default.architecture import GELU_SHIFT
from classifiers.default.graph import HIGHEST_WEIGHT, Array, StepGraph, quantise
from classifiers.default.model import CausalClassifier

ZERO = 128
"""Of activations; they stay within ``HIGHEST_WEIGHT`` of it."""
HIGHEST_STATE = 63
HIGHEST_SHARE = 255


class Rounded(NamedTuple):
    """Names of activations in integers, and what they mean."""

    integers: str
    """uint8."""
    unit: str
    """What one step stands for, a number a token, [.., 1]."""
    zero: int
    """The integer that stands for nothing."""


class Int8Graph(StepGraph):
    """The step in integers.

    Args:
        model: the trained network.
        ranges: the highest absolute value that keys and values are kept at, [layers, 2, hidden]; beyond it they
            are cut off.
    """

    state = TensorProto.INT8
    contrib = True

    def __init__(self, model: CausalClassifier, ranges: NDArray[np.float32]) -> None:
        super().__init__(model)
        self.steps = np.maximum(ranges, 1e-6) / HIGHEST_STATE
        """What one step of a key's or value's channel stands for, [layers, 2, hidden]."""

    def linear(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """Multiply x [.., K] by weight [N, K] transposed and add bias [N]."""
        return self._product(self._rounded(x, weight.shape[1], self._zero), weight, bias, label)

    def after_gelu(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """The same of what Gelu gave."""
        rounded, scales = quantise(weight)
        bias = bias - GELU_SHIFT * (rounded.astype(np.float64) * scales[:, None]).sum(axis=1)
        shifted = self.node("Add", x, self.number(GELU_SHIFT))
        highest = self.node("ReduceMax", shifted, self.ints(-1), keepdims=1)
        unit = self.node("Mul", highest, self.number(1 / HIGHEST_SHARE))
        integers = self.node(
            "QuantizeLinear",
            shifted,
            unit,
            axis=-1,
            block_size=weight.shape[1],
            output_dtype=TensorProto.UINT8,
        )
        return self._product(Rounded(integers, unit, 0), weight, bias, label)

    def attention(self, x: str, index: int, past: tuple[str, str]) -> tuple[str, str, str]:
        """Attend to valid past and, causally, to the new."""
        weight, bias = self.joined(index)
        key_step, value_step = self.steps[index]
        units = np.concatenate([1 / key_step, key_step, value_step])
        rounded = self._rounded(x, weight.shape[1], self._zero)
        mixed = self._product(rounded, weight, bias, f"layers.{index}.qkv", units)
        query, key, value = self._parts(mixed)
        query, unit, _ = self._rounded(query, self.arch.head_dim, self._zero_by_head)
        query, unit, value = (
            self.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, unit, value)
        )
        key = self.node("Transpose", key, perm=[0, 2, 3, 1])
        zero = self.const(np.array(ZERO, np.uint8))
        scores = self.node(
            "Concat", *(self.node("MatMulInteger", query, keys, zero) for keys in (past[0], key)), axis=-1
        )
        scores = self.node("Mul", self.node("Cast", scores, to=TensorProto.FLOAT), unit)
        scores = self.node("Add", scores, self._mask)
        highest = self.node("ReduceMax", scores, self.ints(-1), keepdims=1)
        share = self.node("Exp", self.node("Sub", scores, highest))
        share = self.node("Round", self.node("Mul", share, self.number(HIGHEST_SHARE)))
        total = self.node("ReduceSum", share, self.ints(-1), keepdims=1)
        share = self.node("Cast", share, to=TensorProto.UINT8)
        old, new = (
            self.node("MatMulInteger", part, values)
            for part, values in zip(
                self.node("Split", share, self._split, axis=-1, outputs=2), (past[1], value), strict=True
            )
        )
        context = self.node("Cast", self.node("Add", old, new), to=TensorProto.FLOAT)
        context = self.side_by_side(self.node("Div", context, total))
        stored = self.const(value_step.astype(np.float32), f"layers.{index}.value_steps")
        return self.node("Mul", context, stored), key, value

    def _parts(self, mixed: str) -> list[str]:
        """Query in float, key and value in int8, [B, T, heads, head_dim] each, of [B, T, 3 * hidden]."""
        hidden, limit = self.arch.hidden, float(HIGHEST_STATE)
        query, state = self.node("Split", mixed, self.ints(hidden, 2 * hidden), axis=-1, outputs=2)
        state = self.node("Clip", state, self.number(-limit), self.number(limit))
        state = self.node("QuantizeLinear", state, self.number(1), self.const(np.array(0, np.int8)))
        parts = (query, *self.node("Split", state, axis=-1, num_outputs=2, outputs=2))
        shape = self.ints(0, 0, self.arch.heads, self.arch.head_dim)
        return [self.node("Reshape", part, shape) for part in parts]

    @cached_property
    def _rows(self) -> str:
        return str(self.node("Shape", "input_ids", start=0, end=1))

    @cached_property
    def _tokens(self) -> str:
        return str(self.node("Shape", "input_ids", start=1, end=2))

    @cached_property
    def _split(self) -> str:
        """Lengths of past and new."""
        return str(
            self.node("Concat", self.node("Shape", "past_values.0", start=2, end=3), self._tokens, axis=0)
        )

    @cached_property
    def _mask(self) -> str:
        """Both masks as one, [B, 1, T, P + T]."""
        (old, new), one = self.masks, self.ints(1)
        old = self.node("Expand", old, self.node("Concat", one, one, self._tokens, one, axis=0))
        new = self.node("Expand", new, self.node("Concat", self._rows, one, one, one, axis=0))
        return str(self.node("Concat", old, new, axis=-1))

    @cached_property
    def _zero(self) -> str:
        """The zero point of a token's activations, [B, T, 1]."""
        return self._zeros(self.ints(1))

    @cached_property
    def _zero_by_head(self) -> str:
        """The same of a query, [B, T, heads, 1]."""
        return self._zeros(self.ints(self.arch.heads, 1))

    def _zeros(self, last: str) -> str:
        shape = self.node("Concat", self._rows, self._tokens, last, axis=0)
        return str(self.node("Expand", self.const(np.array(ZERO, np.uint8)), shape))

    def _rounded(self, x: str, width: int, zero: str) -> Rounded:
        """The last axis, ``width`` long, as uint8 about ``ZERO``."""
        highest = self.node("ReduceMax", self.node("Abs", x), self.ints(-1), keepdims=1)
        unit = self.node("Mul", highest, self.number(1 / HIGHEST_WEIGHT))
        return Rounded(self.node("QuantizeLinear", x, unit, zero, axis=-1, block_size=width), unit, ZERO)

    def _product(self, x: Rounded, weight: Array, bias: Array, label: str, units: Array | float = 1.0) -> str:
        """Multiply integers and what one of them stands for; the result is in ``units``, one an output."""
        rounded, scales = quantise(weight)
        product = self.node(
            "MatMulIntegerToFloat",
            x.integers,
            self.const(rounded.T, f"{label}.int8"),
            self.number(1),
            self.const((scales / units).astype(np.float32), f"{label}.scales"),
            self.const(np.array(x.zero, np.uint8)),
            domain="com.microsoft",
        )
        return self.plus_bias(self.node("Mul", product, x.unit), bias / units, label)
