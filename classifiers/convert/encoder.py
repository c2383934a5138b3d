"""The body of a causal encoder of the BERT kind: learnt positions, norms behind the layers, no grouped queries.

A BERT attends to both sides and cannot be scored token by token; one trained with ``is_decoder: true`` can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from classifiers.convert.attention import Masks, attend, masks
from classifiers.convert.errors import ConversionError
from classifiers.convert.nodes import Nodes
from classifiers.convert.step import Geometry, State
from classifiers.convert.weights import Weights

MODEL_TYPES = ("bert",)
_PREFIX = "bert"


class Encoder:
    """A causal encoder's body; arguments as of ``Decoder``."""

    def __init__(self, config: Mapping[str, Any], weights: Weights, max_positions: int) -> None:
        if not config.get("is_decoder"):
            raise ConversionError(
                "config.json: without is_decoder: true a BERT attends to both sides; only its sequence classifiers "
                "can be made a pack, of family window"
            )
        if config.get("hidden_act", "gelu") != "gelu":
            raise ConversionError(f"config.json: hidden_act {config['hidden_act']!r} is not supported")
        self._config, self._weights = config, weights
        heads = int(config["num_attention_heads"])
        self._head_dim = int(config["hidden_size"]) // heads
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        positions = min(max_positions, int(config["max_position_embeddings"]))
        self.geometry = Geometry(int(config["num_hidden_layers"]), heads, self._head_dim, positions)
        """Sizes of its step."""

    def write(self, nodes: Nodes, state: State) -> str:
        """Write it; hidden states [N, hidden]."""
        shared, weights = masks(nodes, 1), self._weights
        words = nodes.rows(weights[f"{_PREFIX}.embeddings.word_embeddings.weight"], "input_ids")
        # Every token is of the first segment.
        places = weights[f"{_PREFIX}.embeddings.position_embeddings.weight"]
        places = places + weights[f"{_PREFIX}.embeddings.token_type_embeddings.weight"][0]
        hidden = nodes.node("Add", words, nodes.node("Gather", nodes.const(places), "position_ids"))
        hidden = self._norm(nodes, hidden, f"{_PREFIX}.embeddings.LayerNorm")
        for index, past in enumerate(state.past):
            prefix = f"{_PREFIX}.encoder.layer.{index}"
            context, new = self._attention(nodes, hidden, f"{prefix}.attention", past, shared)
            state.new.append(new)
            hidden = nodes.node("Add", hidden, context)
            hidden = self._norm(nodes, hidden, f"{prefix}.attention.output.LayerNorm")
            wide = nodes.node("Gelu", self._linear(nodes, hidden, f"{prefix}.intermediate.dense"))
            hidden = nodes.node("Add", hidden, self._linear(nodes, wide, f"{prefix}.output.dense"))
            hidden = self._norm(nodes, hidden, f"{prefix}.output.LayerNorm")
        return hidden

    def _norm(self, nodes: Nodes, x: str, name: str) -> str:
        return nodes.layer_norm(
            x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], self._epsilon
        )

    def _linear(self, nodes: Nodes, x: str, name: str, scale: float = 1.0) -> str:
        factor = np.float32(scale)
        return nodes.linear(
            x, self._weights[f"{name}.weight"] * factor, self._weights[f"{name}.bias"] * factor
        )

    def _attention(
        self, nodes: Nodes, x: str, prefix: str, past: tuple[str, str], shared: Masks
    ) -> tuple[str, tuple[str, str]]:
        scale = self._head_dim**-0.5
        made = [
            self._linear(nodes, x, f"{prefix}.self.{name}", factor)
            for name, factor in (("query", scale), ("key", 1.0), ("value", 1.0))
        ]
        query, key, value = (nodes.node("Reshape", each, nodes.ints(0, -1, self._head_dim)) for each in made)
        context = attend(nodes, query, (key, value), past, shared)
        return self._linear(nodes, context, f"{prefix}.output.dense"), (key, value)
