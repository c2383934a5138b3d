"""The outside of a causal step graph: what it takes and gives (classifiers/README.md, family ``causal``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import onnx
from onnx import TensorProto, helper

from classifiers.convert.nodes import Nodes, Precision
from classifiers.convert.weights import Array


@dataclass(frozen=True)
class Geometry:
    """The sizes that lane and network must agree on."""

    layers: int
    key_heads: int
    head_dim: int
    max_positions: int


@dataclass
class State:
    """Keys and values, layer by layer: the lane's, and the new ones to give back."""

    past: list[tuple[str, str]]
    """[B, key heads, D, P] and [B, key heads, P, D]."""
    new: list[tuple[str, str]] = field(default_factory=list)
    """[N, key heads, D] each."""


Body = Callable[[Nodes, State], str]
"""Writes the network between ``input_ids``, ``position_ids`` and hidden states [N, hidden]."""


class Head(Protocol):
    """One head of a network."""

    def __call__(self, nodes: Nodes, hidden: str) -> str:
        """Write it: hidden states to logits of categories [N, categories]."""
        ...

    def chances(self, hidden: Array) -> Array:
        """What it says, worked out here: [T, categories] at hidden states [T, hidden]."""
        ...


def step_graph(
    geometry: Geometry, body: Body, heads: list[Head], categories: int, precision: Precision
) -> onnx.ModelProto:
    """The whole step."""
    nodes = Nodes(precision)
    first = nodes.ints(0)
    state = State([(f"past_keys.{layer}", f"past_values.{layer}") for layer in range(geometry.layers)])
    hidden = body(nodes, state)
    logits = [nodes.node("Unsqueeze", head(nodes, hidden), nodes.ints(1)) for head in heads]
    nodes.node("Concat", *logits, name="logits", axis=1)
    for index, name in enumerate(("new_keys", "new_values")):
        fresh = [nodes.node("Unsqueeze", pair[index], first) for pair in state.new]
        nodes.node("Concat", *fresh, name=name, axis=0)
    return nodes.model("causal_step", _inputs(geometry), _outputs(geometry, len(heads), categories))


def _inputs(geometry: Geometry) -> list[onnx.ValueInfoProto]:
    given = [
        ("input_ids", ["N"]),
        ("position_ids", ["N"]),
        ("slots", ["B", "T"]),
        ("places", ["N"]),
        ("past_length", ["B"]),
    ]
    past = [
        each
        for layer in range(geometry.layers)
        for each in (
            _real(f"past_keys.{layer}", "B", geometry.key_heads, geometry.head_dim, "P"),
            _real(f"past_values.{layer}", "B", geometry.key_heads, "P", geometry.head_dim),
        )
    ]
    return [*(helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in given), *past]


def _outputs(geometry: Geometry, heads: int, categories: int) -> list[onnx.ValueInfoProto]:
    return [
        _real("logits", "N", heads, categories),
        _real("new_keys", geometry.layers, "N", geometry.key_heads, geometry.head_dim),
        _real("new_values", geometry.layers, "N", geometry.key_heads, geometry.head_dim),
    ]


def _real(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
