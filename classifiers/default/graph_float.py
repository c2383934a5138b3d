"""The step in float32: to run where integers are slow (CUDA), and to compare with."""

from __future__ import annotations

from onnx import TensorProto

from classifiers.default.graph import Array, StepGraph, quantise


class FloatGraph(StepGraph):
    """Plain operators; the scores over the past and over the new stand under one softmax.

    Args:
        model: the trained network.
        scales: those of the int8 graph. The weights are then its rounded ones, which a session turns into floats
            when it loads, and a pack stores them once, whatever graphs it has. None: as they were trained.
    """

    state = TensorProto.FLOAT

    def words(self) -> str:
        """Word embeddings of ``input_ids``: [N, hidden]."""
        if self.scales:
            return super().words()
        return str(self.node("Gather", self.const(self.weights["words.weight"], "words.weight"), "input_ids"))

    def linear(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """Multiply x [.., K] by weight [N, K] transposed and add bias [N]."""
        if self.scales is None:
            return self.plus_bias(
                self.node("MatMul", x, self.const(weight.T, f"{label}.weight")), bias, label
            )
        return self._rounded(self.in_steps(x, label), self.in_steps_of_input(weight, label), bias, label)

    def after_gelu(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """The same of what Gelu gave."""
        if self.scales is None:
            return self.linear(x, weight, bias, label)
        return self._rounded(x, weight, bias, label)

    def _rounded(self, x: str, weight: Array, bias: Array, label: str) -> str:
        values, scales = quantise(weight)
        stored = self.node("Cast", self.const(values.T, f"{label}.int8"), to=TensorProto.FLOAT)
        matrix = self.node("Mul", stored, self.const(scales, f"{label}.scales"))
        return self.plus_bias(self.node("MatMul", x, matrix), bias, label)

    def attention(self, x: str, index: int, past: tuple[str, str]) -> tuple[str, str, str]:
        """Attend to valid past and, causally, to the new."""
        mixed = self.linear(x, *self.joined(index), f"layers.{index}.qkv")
        query, *fresh = self.node("Split", mixed, axis=-1, num_outputs=3, outputs=3)
        query, value = (self.by_head(part, 0, 2, 1, 3) for part in (query, fresh[1]))
        key = self.by_head(fresh[0], 0, 2, 3, 1)
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
        out = self.linear(self.token_by_token(context), *self.named(f"layers.{index}.attention_out"))
        return out, fresh[0], fresh[1]
