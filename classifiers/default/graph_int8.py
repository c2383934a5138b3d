"""The step in integers: exact, so that a score cannot depend on how a text was cut or what else is in the batch.

Every sum over channels or positions is a sum of integers, which has no order of summation; what is left in float is
done number by number or token by token (norms, the rounding of a token's own activations). So a token's keys, values
and logits are the same bits whether it was fed alone or with a thousand others (``docs/adr/0014``). And 8-bit
products are what current CPUs do fastest.

- *Products*: weights are int8 with a scale an output, activations uint8 about 128 with a scale a channel, fixed when the
  graph is written (``ranges``) and folded into the weights; what goes beyond is cut off. After Gelu, whose output is
  above -0.17 and differs most between tokens, activations are shifted by that much, use all of uint8 and have a scale
  a token.
- *Queries* are uint8 with a scale a head, *keys and values* int8 with a scale a channel, fixed in the same way; the keys'
  scales go into the query's weights, the values' into those of the product behind. They are kept in -63..63: with
  uint8 on the other side two products then fit the 16 bits in which CPUs without VNNI add them.
- *Attention weights*: ``round(255 * exp(score - highest))``, uint8; what they are divided by is their own sum. A context is
  a mean of values and needs no scale of its own.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from onnx import TensorProto

from classifiers.default.architecture import GELU_SHIFT
from classifiers.default.graph import Array, StepGraph, quantise
from classifiers.default.model import CausalClassifier
from classifiers.default.scales import HIGHEST_STATE, Scales

ZERO = 128
"""Of activations; those of the measured texts stay within ``HIGHEST_WEIGHT`` of it."""
HIGHEST_SHARE = 255
CONTEXT_UNIT = 0.5
"""Of a context, in steps of values."""


class Int8Graph(StepGraph):
    """The step in integers.

    Args:
        model: the trained network.
        scales: of its activations.
    """

    state = TensorProto.INT8
    contrib = True
    scales: Scales

    def __init__(self, model: CausalClassifier, scales: Scales) -> None:
        super().__init__(model, scales)

    def linear(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """Multiply x [.., K] by weight [N, K] transposed and add bias [N]."""
        return self._fixed(self._rounded(self.in_steps(x, label)), weight, bias, label)

    def _fixed(
        self,
        x: str,
        weight: Array,
        bias: Array,
        label: str,
        *,
        unit: float = 1.0,
        outputs: Array | float = 1.0,
    ) -> str:
        """The product of what is in steps already, or in parts ``unit`` of them; the result is in ``outputs``."""
        weight = self.in_steps_of_input(weight, label)
        return self._product(x, weight, bias, label, unit=unit, outputs=outputs)

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
        product = self._product(integers, weight, None, label, zero=0)
        return self.plus_bias(self.node("Mul", product, unit), bias, label)

    def attention(self, x: str, index: int, past: tuple[str, str]) -> tuple[str, str, str]:
        """Attend to valid past and, causally, to the new."""
        arch, scales, label = self.arch, self.scales, f"layers.{index}.qkv"
        queries = np.repeat(scales.queries[index], arch.head_dim) / scales.keys[index]
        units = np.concatenate([queries, scales.keys[index], scales.values[index]])
        mixed = self._fixed(self._rounded(self.in_steps(x, label)), *self.joined(index), label, outputs=units)
        query, key, value = self._parts(mixed)
        scores = [
            self.node("MatMulInteger", self.by_head(query, 0, 2, 1, 3), keys, self._zero)
            for keys in (past[0], self.by_head(key, 0, 2, 3, 1))
        ]
        scores = self.node("Cast", self.node("Concat", *scores, axis=-1), to=TensorProto.FLOAT)
        unit_by_head = self.const(scales.queries[index][:, None, None])
        scores = self.node("Add", self.node("Mul", scores, unit_by_head), self._mask)
        highest = self.node("ReduceMax", scores, self.ints(-1), keepdims=1)
        share = self.node("Exp", self.node("Sub", scores, highest))
        share = self.node("Round", self.node("Mul", share, self.number(HIGHEST_SHARE)))
        total = self.node("ReduceSum", share, self.ints(-1), keepdims=1)
        shares = self.node(
            "Split", self.node("Cast", share, to=TensorProto.UINT8), self._split, axis=-1, outputs=2
        )
        old, new = (
            self.node("MatMulInteger", part, values)
            for part, values in zip(shares, (past[1], self.by_head(value, 0, 2, 1, 3)), strict=True)
        )
        context = self.node("Cast", self.node("Add", old, new), to=TensorProto.FLOAT)
        # A mean of values: as large as they, and half a step of theirs is fine enough.
        rounded = self.token_by_token(self._rounded(self.node("Div", context, total), CONTEXT_UNIT))
        return (
            self._fixed(rounded, *self.named(f"layers.{index}.attention_out"), unit=CONTEXT_UNIT),
            key,
            value,
        )

    def _parts(self, mixed: str) -> list[str]:
        """Query in uint8, key and value in int8, [N, hidden] each, of [N, 3 * hidden]."""
        hidden, limit = self.arch.hidden, float(HIGHEST_STATE)
        query, state = self.node("Split", mixed, self.ints(hidden, 2 * hidden), axis=-1, outputs=2)
        state = self.node("Clip", state, self.number(-limit), self.number(limit))
        state = self.node("QuantizeLinear", state, self.number(1), self.const(np.array(0, np.int8)))
        return [self._rounded(query), *self.node("Split", state, axis=-1, num_outputs=2, outputs=2)]

    @cached_property
    def _rows(self) -> str:
        return str(self.node("Shape", "slots", start=0, end=1))

    @cached_property
    def _tokens(self) -> str:
        return str(self.node("Shape", "slots", start=1, end=2))

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

    @property
    def _zero(self) -> str:
        return self.const(np.array(ZERO, np.uint8))

    def _rounded(self, x: str, unit: float = 1.0) -> str:
        """``x`` as uint8 about ``ZERO``, in steps of ``unit``."""
        return str(self.node("QuantizeLinear", x, self.number(unit), self._zero))

    def _product(
        self,
        x: str,
        weight: Array,
        bias: Array | None,
        label: str,
        *,
        zero: int = ZERO,
        unit: float = 1.0,
        outputs: Array | float = 1.0,
    ) -> str:
        """Multiply integers, of which one stands for ``unit`` and ``zero`` for nothing.

        What one of the results stands for is in ``outputs``, one an output.
        """
        rounded, scales = quantise(weight)
        added = () if bias is None else ("", self.const((bias / outputs).astype(np.float32), f"{label}.bias"))
        return str(
            self.node(
                "MatMulIntegerToFloat",
                x,
                self.const(rounded.T, f"{label}.int8"),
                self.number(unit),
                self.const((scales / outputs).astype(np.float32), f"{label}.scales"),
                self.const(np.array(zero, np.uint8)),
                *added,
                domain="com.microsoft",
            )
        )
