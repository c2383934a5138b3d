"""The ONNX graph of the classifier, written node by node: one incremental step over many lanes.

A step takes the new tokens of each lane and the lane's past keys and values, and returns logits and
the new keys and values; the caller appends them. Only plain operators of opset 20.

`int8` stores the weights as int8 in blocks and computes in float: a session turns them back into
floats once, when it loads. A token's score then does not depend on its neighbours in the batch, nor
on how a text was cut into steps. `int8_fast` (com.microsoft's MatMulNBits, accuracy level 4) also
quantises the activations of each row: faster, but a difference of 1e-7 from another order of
summation can move a rounded activation, and with it the scores in the third decimal.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.model import CausalClassifier

OPSET = 20
IR_VERSION = 10
BLOCK = 64
"""Weights that share one scale; divides both inner sizes, 384 and 1536."""
MASKED = -1e9

Array = NDArray[Any]
Precision = Literal["float", "int8", "int8_fast"]


def quantise(weight: Array, block: int) -> tuple[Array, Array]:
    """Round [N, K] in blocks along K: (values in -127..127 [N, K/block, block], scales)."""
    blocks = weight.reshape(weight.shape[0], weight.shape[1] // block, block)
    scales = np.maximum(np.abs(blocks).max(axis=2, keepdims=True), 1e-12) / 127
    return np.clip(np.rint(blocks / scales), -127, 127), scales.astype(np.float32)


class StepGraph:
    """Collects nodes and weights of the step graph."""

    def __init__(self, model: CausalClassifier, precision: Precision) -> None:
        self.arch = model.arch
        self.precision = precision
        self.weights = {n: v.detach().float().numpy() for n, v in model.state_dict().items()}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.count = 0

    def const(self, value: Array, name: str = "") -> str:
        """Add a weight or constant and return its name."""
        name = name or f"const_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return its output's name, or the list of them if there are several."""
        self.count += 1
        names = [f"{operator.lower()}_{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def ints(self, *values: int) -> str:
        """A small int64 constant, one-dimensional."""
        return self.const(np.array(values, dtype=np.int64))

    def linear(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """Multiply x [.., K] by weight [N, K] transposed and add bias [N]."""
        out_size, in_size = weight.shape
        if self.precision == "float":
            matrix = self.const(weight.T, f"{label}.weight")
            return self.plus_bias(self.node("MatMul", x, matrix), bias, label)
        rounded, scales = quantise(weight, BLOCK)
        if self.precision == "int8":
            # Laid out as [K, N], so that what the session folds is what the product reads.
            stored = self.const(rounded.transpose(1, 2, 0).astype(np.int8), f"{label}.int8")
            unit = self.const(scales.transpose(1, 2, 0), f"{label}.scales")
            matrix = self.node("Mul", self.node("Cast", stored, to=TensorProto.FLOAT), unit)
            matrix = self.node("Reshape", matrix, self.ints(in_size, out_size))
            return self.plus_bias(self.node("MatMul", x, matrix), bias, label)
        return str(
            self.node(
                "MatMulNBits",
                x,
                self.const((rounded + 128).astype(np.uint8), f"{label}.packed"),
                self.const(scales[:, :, 0], f"{label}.scales"),
                "",
                "",
                self.const(bias, f"{label}.bias"),
                domain="com.microsoft",
                K=in_size,
                N=out_size,
                bits=8,
                block_size=BLOCK,
                accuracy_level=4,
            )
        )

    def plus_bias(self, x: str, bias: Array, label: str) -> str:
        """Add a bias over the last axis of x."""
        return str(self.node("Add", x, self.const(bias, f"{label}.bias")))

    def norm(self, x: str, name: str) -> str:
        """Layer normalisation with the named weights."""
        return str(
            self.node(
                "LayerNormalization",
                x,
                self.const(self.weights[f"{name}.weight"], f"{name}.weight"),
                self.const(self.weights[f"{name}.bias"], f"{name}.bias"),
                axis=-1,
                epsilon=self.arch.norm_eps,
            )
        )

    def embed(self) -> str:
        """Word and position embeddings, normalised: [B, T, hidden]."""
        table = self.weights["words.weight"]
        if self.precision == "float":
            words = self.node("Gather", self.const(table, "words.weight"), "input_ids")
        else:
            rounded, scales = quantise(table, self.arch.hidden)
            stored = self.const(rounded[:, 0].astype(np.int8), "words.int8")
            unit = self.const(scales[:, 0], "words.scales")
            rows = self.node("Cast", self.node("Gather", stored, "input_ids"), to=TensorProto.FLOAT)
            words = self.node("Mul", rows, self.node("Gather", unit, "input_ids"))
        places = self.const(self.weights["positions.weight"], "positions.weight")
        return self.norm(
            self.node("Add", words, self.node("Gather", places, "position_ids")), "embedding_norm"
        )

    def arange(self, tensor: str, axis: int) -> str:
        """0 .. size-1 for the size of one axis of a tensor."""
        size = self.node("Shape", tensor, start=axis, end=axis + 1)
        size = self.node("Squeeze", size)
        zero, one = (self.const(np.array(v, dtype=np.int64)) for v in (0, 1))
        return str(self.node("Range", zero, size, one))

    def masks(self) -> tuple[str, str]:
        """Additive masks: past [B, 1, 1, P] and causal among the new [1, 1, T, T]."""
        zero = self.const(np.array(0, dtype=np.float32))
        masked = self.const(np.array(MASKED, dtype=np.float32))
        past = self.arange("past_keys", 3)
        valid = self.node("Less", past, self.node("Unsqueeze", "past_length", self.ints(1)))
        past_mask = self.node("Where", valid, zero, masked)
        new = self.arange("input_ids", 1)
        seen = self.node("LessOrEqual", new, self.node("Unsqueeze", new, self.ints(1)))
        return (
            self.node("Unsqueeze", past_mask, self.ints(1, 2)),
            self.node("Unsqueeze", self.node("Where", seen, zero, masked), self.ints(0, 1)),
        )

    def attention(self, x: str, index: int, past: tuple[str, str], masks: tuple[str, str]) -> Any:
        """Attend to valid past and, causally, to the new; return (context, keys, values)."""
        arch, w, prefix = self.arch, self.weights, f"layers.{index}"
        names = ("query", "key", "value")
        weight = np.concatenate([w[f"{prefix}.{n}.weight"] for n in names])
        bias = np.concatenate([w[f"{prefix}.{n}.bias"] for n in names])
        # The softmax scale goes into the query weights.
        weight[: arch.hidden] /= np.sqrt(arch.head_dim)
        bias[: arch.hidden] /= np.sqrt(arch.head_dim)
        mixed = self.linear(x, weight, bias, f"{prefix}.qkv")
        mixed = self.node("Reshape", mixed, self.ints(0, 0, 3, arch.heads, arch.head_dim))
        mixed = self.node("Transpose", mixed, perm=[2, 0, 3, 1, 4])
        parts = self.node("Split", mixed, axis=0, num_outputs=3, outputs=3)
        query, key, value = (self.node("Squeeze", part, self.ints(0)) for part in parts)
        old = self.node("MatMul", query, self.node("Transpose", past[0], perm=[0, 1, 3, 2]))
        new = self.node("MatMul", query, self.node("Transpose", key, perm=[0, 1, 3, 2]))
        old = self.node("Add", old, masks[0])
        new = self.node("Add", new, masks[1])
        share = self.node("Softmax", self.node("Concat", old, new, axis=-1), axis=-1)
        sizes = [self.node("Shape", part, start=3, end=4) for part in (old, new)]
        sizes = self.node("Concat", *sizes, axis=0)
        share_old, share_new = self.node("Split", share, sizes, axis=-1, outputs=2)
        context = self.node(
            "Add",
            self.node("MatMul", share_old, past[1]),
            self.node("MatMul", share_new, value),
        )
        context = self.node("Transpose", context, perm=[0, 2, 1, 3])
        return self.node("Reshape", context, self.ints(0, 0, arch.hidden)), key, value

    def build(self) -> onnx.ModelProto:
        """The whole step as a checked model."""
        arch, w = self.arch, self.weights
        hidden, masks = self.embed(), self.masks()
        pasts = [
            self.node("Split", name, axis=0, num_outputs=arch.layers, outputs=arch.layers)
            for name in ("past_keys", "past_values")
        ]
        kept: tuple[list[str], list[str]] = ([], [])
        for index in range(arch.layers):
            prefix = f"layers.{index}"
            past = tuple(self.node("Squeeze", pasts[i][index], self.ints(0)) for i in (0, 1))
            context, *fresh = self.attention(hidden, index, (past[0], past[1]), masks)
            for held, tensor in zip(kept, fresh, strict=True):
                held.append(self.node("Unsqueeze", tensor, self.ints(0)))
            names = (f"{prefix}.attention_out", f"{prefix}.inner", f"{prefix}.inner_out")
            out, inner, inner_out = ((w[f"{n}.weight"], w[f"{n}.bias"], n) for n in names)
            hidden = self.node("Add", hidden, self.linear(context, *out))
            hidden = self.norm(hidden, f"{prefix}.attention_norm")
            wide = self.node("Gelu", self.linear(hidden, *inner))
            hidden = self.node("Add", hidden, self.linear(wide, *inner_out))
            hidden = self.norm(hidden, f"{prefix}.output_norm")
        # The heads are small and decide everything: they stay in float.
        flat = self.node("MatMul", hidden, self.const(w["head.weight"].T, "head.weight"))
        flat = self.node("Add", flat, self.const(w["head.bias"], "head.bias"))
        shape = self.ints(0, 0, len(ROLES), len(CATEGORIES))
        self.nodes.append(helper.make_node("Reshape", [flat, shape], ["logits"]))
        for held, name in zip(kept, ("new_keys", "new_values"), strict=True):
            self.nodes.append(helper.make_node("Concat", held, [name], axis=0))
        return self.model()

    def model(self) -> onnx.ModelProto:
        """Wrap the nodes with typed inputs and outputs."""
        arch = self.arch
        integer, real = TensorProto.INT64, TensorProto.FLOAT

        def state(name: str, tokens: str) -> onnx.ValueInfoProto:
            shape = [arch.layers, "B", arch.heads, tokens, arch.head_dim]
            return helper.make_tensor_value_info(name, real, shape)

        inputs = [
            helper.make_tensor_value_info("input_ids", integer, ["B", "T"]),
            helper.make_tensor_value_info("position_ids", integer, ["B", "T"]),
            helper.make_tensor_value_info("past_length", integer, ["B"]),
            state("past_keys", "P"),
            state("past_values", "P"),
        ]
        logits = ["B", "T", len(ROLES), len(CATEGORIES)]
        outputs = [
            helper.make_tensor_value_info("logits", real, logits),
            state("new_keys", "T"),
            state("new_values", "T"),
        ]
        graph = helper.make_graph(self.nodes, "causal_classifier_step", inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        if self.precision == "int8_fast":
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
