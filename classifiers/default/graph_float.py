"""The step in float32: to run where integers are slow (CUDA), and to compare with."""

from __future__ import annotations

from onnx import TensorProto

from classifiers.default.graph import Array, StepGraph, quantise
from classifiers.default.model import CausalClassifier


class FloatGraph(StepGraph):
    """Plain operators; the scores over the past and over the new stand under one softmax.

    Args:
        model: the trained network.
        rounded: whether weights are those of the int8 graph, which a session turns into floats when it loads.
            A pack then stores them once, whatever graphs it has. False: as they were trained.
    """

    state = TensorProto.FLOAT

    def __init__(self, model: CausalClassifier, *, rounded: bool) -> None:
        super().__init__(model)
        self.rounded = rounded

    def words(self) -> str:
        """Word embeddings of ``input_ids``: [B, T, hidden]."""
        if self.rounded:
            return super().words()
        return str(self.node("Gather", self.const(self.weights["words.weight"], "words.weight"), "input_ids"))

    def linear(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """Multiply x [.., K] by weight [N, K] transposed and add bias [N]."""
        if self.rounded:
            values, scales = quantise(weight)
            stored = self.node("Cast", self.const(values.T, f"{label}.int8"), to=TensorProto.FLOAT)
            matrix = self.node("Mul", stored, self.const(scales, f"{label}.scales"))
        else:
            matrix = self.const(weight.T, f"{label}.weight")
        return self.plus_bias(self.node("MatMul", x, matrix), bias, label)

    def attention(self, x: str, index: int, past: tuple[str, str]) -> tuple[str, str, str]:
        """Attend to valid past and, causally, to the new."""
        query, key, value = self.by_head(self.linear(x, *self.joined(index), f"layers.{index}.qkv"), 3)
        key = self.node("Transpose", key, perm=[0, 1, 3, 2])
        old, new = (
            self.node("Add", self.node("MatMul", query, keys), mask)
            for keys, mask in zip((past[0], key), self.masks, strict=True)
        )
        share = self.node("Softmax", self.node("Concat", old, new, axis=-1), axis=-1)
        lengths = (self.node("Shape", part, start=3, end=4) for part in (old, new))
        lengths = self.node("Concat", *lengths, axis=0)
        share_old, share_new = self.node("Split", share, lengths, axis=-1, outputs=2)
        context = self.node(
            "Add", self.node("MatMul", share_old, past[1]), self.node("MatMul", share_new, value)
        )
        return self.side_by_side(context), key, value
