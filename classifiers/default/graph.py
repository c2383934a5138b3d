"""The ONNX graph of the classifier, written node by node: one incremental step over many lanes.

A step takes the new tokens of each lane and the lane's past keys and values, and returns logits and the new keys
and values; the caller keeps them (``guardrail.engine.causal_session`` states the contract). Here stand what every
precision shares: how nodes are collected, embeddings, masks, norms, heads. What a product is and how attention is
computed is a precision's own: ``graph_float``, ``graph_int8``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.manifest import OPSET
from classifiers.default.model import CausalClassifier
from classifiers.default.scales import HIGHEST_WEIGHT, Scales

IR_VERSION = 10
MASKED = -1e9

Array = NDArray[Any]


def quantise(weight: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round [N, K] with a scale a row: (values in -127..127 [N, K], scales [N])."""
    scales = np.maximum(np.abs(weight).max(axis=1), 1e-12) / HIGHEST_WEIGHT
    return np.rint(weight / scales[:, None]).astype(np.int8), scales.astype(np.float32)


class StepGraph(ABC):
    """Collects nodes and weights of the step graph."""

    state: int
    """Element type of keys and values, a ``TensorProto`` data type."""
    contrib: bool = False
    """Whether operators of com.microsoft are used."""

    def __init__(self, model: CausalClassifier, scales: Scales | None) -> None:
        self.arch = model.arch
        self.scales = scales
        """Folded into the weights that a pack stores; None for weights as they were trained."""
        self.weights: dict[str, Array] = {
            n: v.detach().float().numpy() for n, v in model.state_dict().items()
        }
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def const(self, value: Array, name: str = "") -> str:
        """Add a weight or constant and return its name; an unnamed one is shared by all who want its value."""
        value = np.ascontiguousarray(value)
        if not name:
            name = f"const_{value.dtype}_{'x'.join(map(str, value.shape))}_{value.tobytes().hex()}"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def number(self, value: float) -> str:
        """A float32 constant without axes."""
        return self.const(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """A small int64 constant, one-dimensional."""
        return self.const(np.array(values, np.int64))

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return its output's name, or the list of them if there are several."""
        names = [f"{operator.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def in_steps(self, x: str, label: str) -> str:
        """What comes into a product, each channel in steps of its own."""
        assert self.scales is not None
        return str(self.node("Mul", x, self.const(1 / self.scales.into(label), f"{label}.per_step")))

    def in_steps_of_input(self, weight: Array, label: str) -> Array:
        """The weight [N, K] that takes it so."""
        assert self.scales is not None
        return np.asarray(weight * self.scales.into(label))

    def plus_bias(self, x: str, bias: Array, label: str) -> str:
        """Add a bias over the last axis of x."""
        return str(self.node("Add", x, self.const(bias.astype(np.float32), f"{label}.bias")))

    def norm(self, x: str, name: str) -> str:
        """Layer normalisation with the named weights."""
        parts = (self.const(self.weights[f"{name}.{part}"], f"{name}.{part}") for part in ("weight", "bias"))
        return str(self.node("LayerNormalization", x, *parts, axis=-1, epsilon=self.arch.norm_eps))

    def words(self) -> str:
        """Word embeddings of ``input_ids``, stored as int8 with a scale a word: [N, hidden]."""
        rounded, scales = quantise(self.weights["words.weight"])
        rows = self.node("Gather", self.const(rounded, "words.int8"), "input_ids")
        unit = self.node("Gather", self.const(scales[:, None], "words.scales"), "input_ids")
        return str(self.node("Mul", self.node("Cast", rows, to=TensorProto.FLOAT), unit))

    @abstractmethod
    def linear(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """Multiply x [.., K] by weight [N, K] transposed and add bias [N]."""

    def after_gelu(self, x: str, weight: Array, bias: Array, label: str) -> str:
        """The same of what Gelu gave."""
        return self.linear(x, weight, bias, label)

    @abstractmethod
    def attention(self, x: str, index: int, past: tuple[str, str]) -> tuple[str, str, str]:
        """Attend to valid past and, causally, to the new.

        Args:
            x: [N, hidden].
            index: which layer.
            past: names of its keys [B, heads, head_dim, P] and values [B, heads, P, head_dim].

        Returns:
            Names of what it gives, the product behind it included, the new keys and the new values, [N, hidden] each.
        """

    def named(self, label: str) -> tuple[Array, Array, str]:
        """Weight, bias and label of a product."""
        return self.weights[f"{label}.weight"], self.weights[f"{label}.bias"], label

    def joined(self, index: int) -> tuple[Array, Array]:
        """Weight [3 * hidden, hidden] and bias of query, key and value, the softmax scale in the query's."""
        prefix, names = f"layers.{index}", ("query", "key", "value")
        weight = np.concatenate([self.weights[f"{prefix}.{n}.weight"] for n in names])
        bias = np.concatenate([self.weights[f"{prefix}.{n}.bias"] for n in names])
        weight[: self.arch.hidden] /= np.sqrt(self.arch.head_dim)
        bias[: self.arch.hidden] /= np.sqrt(self.arch.head_dim)
        return weight, bias

    def by_head(self, x: str, *perm: int) -> str:
        """Stand the tokens [N, hidden] in their rows, [B, T, heads, head_dim], and turn that by ``perm``."""
        rows = self.node("Gather", x, "slots")
        rows = self.node("Reshape", rows, self.ints(0, 0, self.arch.heads, self.arch.head_dim))
        return str(self.node("Transpose", rows, perm=perm))

    def token_by_token(self, context: str) -> str:
        """Put [B, heads, T, head_dim] back into [N, hidden]."""
        rows = self.node("Transpose", context, perm=[0, 2, 1, 3])
        rows = self.node("Reshape", rows, self.ints(-1, self.arch.hidden))
        return str(self.node("Gather", rows, "places"))

    def embed(self) -> str:
        """Word and position embeddings, normalised: [N, hidden]."""
        places = self.const(self.weights["positions.weight"], "positions.weight")
        both = self.node("Add", self.words(), self.node("Gather", places, "position_ids"))
        return self.norm(both, "embedding_norm")

    def arange(self, tensor: str, axis: int) -> str:
        """0 .. size-1 for the size of one axis of a tensor."""
        size = self.node("Squeeze", self.node("Shape", tensor, start=axis, end=axis + 1))
        zero, one = (self.const(np.array(value, np.int64)) for value in (0, 1))
        return str(self.node("Range", zero, size, one))

    @cached_property
    def masks(self) -> tuple[str, str]:
        """What is added to scores: past [B, 1, 1, P] and causal among the new [1, 1, T, T]."""
        zero, masked = self.number(0), self.number(MASKED)
        past = self.arange("past_values.0", 2)
        valid = self.node("Less", past, self.node("Unsqueeze", "past_length", self.ints(1)))
        new = self.arange("slots", 1)
        seen = self.node("LessOrEqual", new, self.node("Unsqueeze", new, self.ints(1)))
        return (
            self.node("Unsqueeze", self.node("Where", valid, zero, masked), self.ints(1, 2)),
            self.node("Unsqueeze", self.node("Where", seen, zero, masked), self.ints(0, 1)),
        )

    def build(self) -> onnx.ModelProto:
        """The whole step."""
        arch, w = self.arch, self.weights
        hidden = self.embed()
        kept: tuple[list[str], list[str]] = ([], [])
        for index in range(arch.layers):
            prefix = f"layers.{index}"
            past = (f"past_keys.{index}", f"past_values.{index}")
            attended, *fresh = self.attention(hidden, index, past)
            for held, tensor in zip(kept, fresh, strict=True):
                held.append(self.node("Reshape", tensor, self.ints(1, -1, arch.heads, arch.head_dim)))
            hidden = self.node("Add", hidden, attended)
            hidden = self.norm(hidden, f"{prefix}.attention_norm")
            wide = self.node("Gelu", self.linear(hidden, *self.named(f"{prefix}.inner")))
            hidden = self.node("Add", hidden, self.after_gelu(wide, *self.named(f"{prefix}.inner_out")))
            hidden = self.norm(hidden, f"{prefix}.output_norm")
        # The heads are small and decide everything: they stay in float.
        flat = self.node("MatMul", hidden, self.const(w["head.weight"].T, "head.weight"))
        flat = self.node("Add", flat, self.const(w["head.bias"], "head.bias"))
        shape = self.ints(0, len(ROLES), len(CATEGORIES))
        self.nodes.append(helper.make_node("Reshape", [flat, shape], ["logits"]))
        for held, name in zip(kept, ("new_keys", "new_values"), strict=True):
            self.nodes.append(helper.make_node("Concat", held, [name], axis=0))
        return self._model()

    def _model(self) -> onnx.ModelProto:
        """Wrap the nodes with typed inputs and outputs."""
        arch = self.arch
        integer, real = TensorProto.INT64, TensorProto.FLOAT

        def flat(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, shape)

        def past(index: int) -> list[onnx.ValueInfoProto]:
            return [
                flat(f"past_keys.{index}", self.state, "B", arch.heads, arch.head_dim, "P"),
                flat(f"past_values.{index}", self.state, "B", arch.heads, "P", arch.head_dim),
            ]

        graph = helper.make_graph(
            self.nodes,
            "causal_classifier_step",
            [
                flat("input_ids", integer, "N"),
                flat("position_ids", integer, "N"),
                flat("slots", integer, "B", "T"),
                flat("places", integer, "N"),
                flat("past_length", integer, "B"),
                *(entry for index in range(arch.layers) for entry in past(index)),
            ],
            [
                flat("logits", real, "N", len(ROLES), len(CATEGORIES)),
                flat("new_keys", self.state, arch.layers, "N", arch.heads, arch.head_dim),
                flat("new_values", self.state, arch.layers, "N", arch.heads, arch.head_dim),
            ],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if self.contrib:
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
