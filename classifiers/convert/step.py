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
    """[B, key heads, P, D] each."""
    new: list[tuple[str, str]] = field(default_factory=list)
    """[B, key heads, T, D] each."""


Body = Callable[[Nodes, State], str]
"""Writes the network between ``input_ids``, ``position_ids`` and hidden states [B, T, hidden]."""


class Head(Protocol):
    """One head of a network."""

    def __call__(self, nodes: Nodes, hidden: str) -> str:
        """Write it: hidden states to logits of categories [B, T, categories]."""
        ...

    def chances(self, hidden: Array) -> Array:
        """What it says, worked out here: [T, categories] at hidden states [T, hidden]."""
        ...


def step_graph(
    geometry: Geometry, body: Body, heads: list[Head], categories: int, precision: Precision
) -> onnx.ModelProto:
    """The whole step."""
    nodes = Nodes(precision)
    ones = [1] * geometry.layers
    parts = [nodes.split(name, 0, *ones) for name in ("past_keys", "past_values")]
    first = nodes.ints(0)
    squeezed = [[nodes.node("Squeeze", part, first) for part in several] for several in parts]
    state = State(list(zip(*squeezed, strict=True)))
    hidden = body(nodes, state)
    logits = [nodes.node("Unsqueeze", head(nodes, hidden), nodes.ints(2)) for head in heads]
    nodes.node("Concat", *logits, name="logits", axis=2)
    for index, name in enumerate(("new_keys", "new_values")):
        fresh = [nodes.node("Unsqueeze", pair[index], first) for pair in state.new]
        nodes.node("Concat", *fresh, name=name, axis=0)
    return nodes.model(
        "causal_step", _inputs(geometry), [_logits(len(heads), categories), *_state(geometry, "new", "T")]
    )


def _inputs(geometry: Geometry) -> list[onnx.ValueInfoProto]:
    ids = TensorProto.INT64
    return [
        helper.make_tensor_value_info("input_ids", ids, ["B", "T"]),
        helper.make_tensor_value_info("position_ids", ids, ["B", "T"]),
        helper.make_tensor_value_info("past_length", ids, ["B"]),
        *_state(geometry, "past", "P"),
    ]


def _logits(heads: int, categories: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "T", heads, categories])


def _state(geometry: Geometry, when: str, tokens: str) -> list[onnx.ValueInfoProto]:
    shape = [geometry.layers, "B", geometry.key_heads, tokens, geometry.head_dim]
    return [
        helper.make_tensor_value_info(f"{when}_{what}", TensorProto.FLOAT, shape)
        for what in ("keys", "values")
    ]
