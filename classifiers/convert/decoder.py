"""The body of a decoder of the Llama kind: RMSNorm, rotary positions, grouped queries, gated inner layers.

Llama, Mistral, Qwen2 and Qwen3 differ in which tensors there are: biases of queries, keys and values (Qwen2), norms of
each head's queries and keys (Qwen3). So it goes by the checkpoint's names, not by the model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from classifiers.convert import rotary
from classifiers.convert.attention import Masks, attend, masks
from classifiers.convert.errors import ConversionError
from classifiers.convert.nodes import Nodes
from classifiers.convert.step import Geometry, State
from classifiers.convert.weights import Array, Weights

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
_PREFIX = "model"


@dataclass(frozen=True)
class _Shared:
    """What all layers use."""

    masks: Masks
    cos: str
    """[N, 1, D / 2], of the new tokens' positions."""
    sin: str


class Decoder:
    """A decoder's body.

    Args:
        config: its ``config.json``.
        weights: its checkpoint.
        max_positions: tokens to attend to at once, at most; the model's own limits hold besides.

    Raises:
        ConversionError: it is of a kind that is not known here.
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights, max_positions: int) -> None:
        if config.get("hidden_act", "silu") not in ("silu", "swish"):
            raise ConversionError(f"config.json: hidden_act {config['hidden_act']!r} is not supported")
        self._config, self._weights = config, weights
        self._heads = int(config["num_attention_heads"])
        key_heads = int(config.get("num_key_value_heads") or self._heads)
        self._head_dim = int(config.get("head_dim") or config["hidden_size"] // self._heads)
        self._groups = self._heads // key_heads
        self._epsilon = float(config["rms_norm_eps"])
        positions = min(max_positions, int(config["max_position_embeddings"]), *_window(config))
        self.geometry = Geometry(int(config["num_hidden_layers"]), key_heads, self._head_dim, positions)
        """Sizes of its step."""

    def write(self, nodes: Nodes, state: State) -> str:
        """Write it; hidden states [N, hidden]."""
        waves = rotary.tables(self._config, self._head_dim, self.geometry.max_positions)
        cos, sin = (
            nodes.node("Unsqueeze", nodes.node("Gather", nodes.const(table), "position_ids"), nodes.ints(1))
            for table in waves
        )
        shared = _Shared(masks(nodes, self._groups), cos, sin)
        hidden = nodes.rows(self._weights[f"{_PREFIX}.embed_tokens.weight"], "input_ids")
        for index, past in enumerate(state.past):
            prefix = f"{_PREFIX}.layers.{index}"
            x = self._norm(nodes, hidden, f"{prefix}.input_layernorm")
            context, new = self._attention(nodes, x, f"{prefix}.self_attn", past, shared)
            state.new.append(new)
            hidden = nodes.node("Add", hidden, context)
            inner = self._norm(nodes, hidden, f"{prefix}.post_attention_layernorm")
            hidden = nodes.node("Add", hidden, self._inner(nodes, inner, f"{prefix}.mlp"))
        return self._norm(nodes, hidden, f"{_PREFIX}.norm")

    def _norm(self, nodes: Nodes, x: str, name: str) -> str:
        return nodes.rms_norm(x, self._weights[f"{name}.weight"], self._epsilon)

    def _linear(self, nodes: Nodes, x: str, name: str, scale: float = 1.0) -> str:
        bias = self._weights.optional(f"{name}.bias")
        weight = self._weights[f"{name}.weight"] * np.float32(scale)
        return nodes.linear(x, weight, None if bias is None else bias * np.float32(scale))

    def _attention(
        self, nodes: Nodes, x: str, prefix: str, past: tuple[str, str], shared: _Shared
    ) -> tuple[str, tuple[str, str]]:
        query_norm = self._weights.optional(f"{prefix}.q_norm.weight")
        # The scale of the scores goes into what makes the queries last before they are turned.
        scale = self._head_dim**-0.5
        query = self._linear(nodes, x, f"{prefix}.q_proj", 1.0 if query_norm is not None else scale)
        key, value = (self._linear(nodes, x, f"{prefix}.{name}_proj") for name in "kv")
        query, key, value = (self._in_heads(nodes, each) for each in (query, key, value))
        if query_norm is not None:
            query = self._head_norm(nodes, query, query_norm * np.float32(scale))
            key = self._head_norm(nodes, key, self._weights[f"{prefix}.k_norm.weight"])
        query, key = (self._turned(nodes, each, shared) for each in (query, key))
        context = attend(nodes, query, (key, value), past, shared.masks)
        return self._linear(nodes, context, f"{prefix}.o_proj"), (key, value)

    def _in_heads(self, nodes: Nodes, x: str) -> str:
        """[N, heads * D] to [N, heads, D]."""
        return nodes.node("Reshape", x, nodes.ints(0, -1, self._head_dim))

    def _head_norm(self, nodes: Nodes, x: str, weight: Array) -> str:
        return nodes.rms_norm(x, weight, self._epsilon)

    def _turned(self, nodes: Nodes, x: str, shared: _Shared) -> str:
        """``x`` turned by its position: number ``i`` of a head goes with number ``i + D / 2``."""
        half = self._head_dim // 2
        (first, second), cos, sin = nodes.split(x, 2, half, half), shared.cos, shared.sin
        turned = (
            nodes.node("Sub", nodes.node("Mul", first, cos), nodes.node("Mul", second, sin)),
            nodes.node("Add", nodes.node("Mul", second, cos), nodes.node("Mul", first, sin)),
        )
        return nodes.node("Concat", *turned, axis=-1)

    def _inner(self, nodes: Nodes, x: str, prefix: str) -> str:
        gate = self._linear(nodes, x, f"{prefix}.gate_proj")
        gate = nodes.node("Mul", gate, nodes.node("Sigmoid", gate))
        wide = nodes.node("Mul", gate, self._linear(nodes, x, f"{prefix}.up_proj"))
        return self._linear(nodes, wide, f"{prefix}.down_proj")


def _window(config: Mapping[str, Any]) -> tuple[int, ...]:
    """A sliding window is no window to a lane that never attends further."""
    slides = config.get("use_sliding_window", config.get("model_type") == "mistral")
    layers = config.get("layer_types") or []
    if not config.get("sliding_window") or not (slides or "sliding_attention" in layers):
        return ()
    return (int(config["sliding_window"]),)
