"""The network: all-MiniLM-L6 made causal, with one linear head per role on every token.

The sentence encoder's weights are kept; only the attention mask changes (left to right) and two
heads are added. The token type embedding is a constant here, so it is folded into the positions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from classifiers.default.architecture import CATEGORIES, ROLES, Architecture
from classifiers.default.emoji import first_embeddings
from classifiers.default.manifest import CUDA_MODEL


class CausalLayer(nn.Module):  # type: ignore[misc,unused-ignore]
    """One post-norm transformer layer that sees only the past."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.heads = arch.heads
        self.query = nn.Linear(arch.hidden, arch.hidden)
        self.key = nn.Linear(arch.hidden, arch.hidden)
        self.value = nn.Linear(arch.hidden, arch.hidden)
        self.attention_out = nn.Linear(arch.hidden, arch.hidden)
        self.attention_norm = nn.LayerNorm(arch.hidden, eps=arch.norm_eps)
        self.inner = nn.Linear(arch.hidden, arch.inner)
        self.inner_out = nn.Linear(arch.inner, arch.hidden)
        self.output_norm = nn.LayerNorm(arch.hidden, eps=arch.norm_eps)

    def forward(self, hidden: Tensor, dropout: float) -> Tensor:
        """Map [batch, tokens, hidden] to the same shape; `dropout` is a probability."""
        batch, tokens, width = hidden.shape

        def split(x: Tensor) -> Tensor:
            return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            split(self.query(hidden)),
            split(self.key(hidden)),
            split(self.value(hidden)),
            is_causal=True,
        )
        mixed = self.attention_out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        hidden = self.attention_norm(hidden + functional.dropout(mixed, dropout, self.training))
        inner = self.inner_out(functional.gelu(self.inner(hidden)))
        out: Tensor = self.output_norm(hidden + functional.dropout(inner, dropout, self.training))
        return out


class CausalClassifier(nn.Module):  # type: ignore[misc,unused-ignore]
    """Per-token category logits for both roles."""

    def __init__(self, arch: Architecture | None = None, dropout: float = 0.1) -> None:
        super().__init__()
        self.arch = arch or Architecture()
        self.dropout = dropout
        self.words = nn.Embedding(self.arch.vocabulary, self.arch.hidden)
        self.positions = nn.Embedding(self.arch.positions, self.arch.hidden)
        self.embedding_norm = nn.LayerNorm(self.arch.hidden, eps=self.arch.norm_eps)
        self.layers = nn.ModuleList(CausalLayer(self.arch) for _ in range(self.arch.layers))
        self.head = nn.Linear(self.arch.hidden, len(ROLES) * len(CATEGORIES))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Score whole sequences.

        `input_ids` is int64 [batch, tokens], right-padded with 0 (harmless: nothing looks right).
        Returns float logits [batch, tokens, role, category], uncalibrated.
        """
        batch, tokens = input_ids.shape
        places = torch.arange(tokens, device=input_ids.device)
        hidden = self.embedding_norm(self.words(input_ids) + self.positions(places))
        hidden = functional.dropout(hidden, self.dropout, self.training)
        for layer in self.layers:
            hidden = layer(hidden, self.dropout)
        logits: Tensor = self.head(hidden)
        return logits.float().view(batch, tokens, len(ROLES), len(CATEGORIES))


def from_sentence_encoder(directory: Path, dropout: float = 0.1) -> CausalClassifier:
    """Build the network from a directory holding all-MiniLM-L6-v2's `model.safetensors`."""
    model = CausalClassifier(dropout=dropout)
    raw = load_file(str(directory / "model.safetensors"))
    raw = {name.removeprefix("bert."): value for name, value in raw.items()}
    renamed = {
        "words.weight": raw["embeddings.word_embeddings.weight"],
        # One sentence only: token type 0 is added at every position.
        "positions.weight": raw["embeddings.position_embeddings.weight"]
        + raw["embeddings.token_type_embeddings.weight"][0],
    }
    names = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "inner": "intermediate.dense",
        "inner_out": "output.dense",
        "output_norm": "output.LayerNorm",
    }
    for part in ("weight", "bias"):
        renamed[f"embedding_norm.{part}"] = raw[f"embeddings.LayerNorm.{part}"]
        for index in range(model.arch.layers):
            for ours, theirs in names.items():
                source = raw[f"encoder.layer.{index}.{theirs}.{part}"]
                renamed[f"layers.{index}.{ours}.{part}"] = source
    # The heads start near "nothing is wrong", which is the prior of almost every token.
    nn.init.normal_(model.head.weight, std=0.02)
    nn.init.constant_(model.head.bias, -2.0)
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    if set(missing) != {"head.weight", "head.bias"} or unexpected:
        raise ValueError(f"{directory}: not an all-MiniLM-L6-v2 checkpoint: {missing} {unexpected}")
    return model


def from_pack(directory: Path, dropout: float = 0.1) -> CausalClassifier:
    """Build the network from a pack that `export` wrote, so that training can go on from it.

    Read from the graph in floats: the one in integers has scales of its own folded into its weights.
    """
    graph = onnx.load(str(directory / CUDA_MODEL)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    model = CausalClassifier(dropout=dropout)
    state: dict[str, Tensor] = {}

    def keep(name: str, value: np.ndarray) -> None:
        state[name] = torch.from_numpy(np.array(value, dtype=np.float32, order="C"))

    def linear(label: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight [N, K] and bias [N] of a product stored as int8 [K, N]."""
        weight = (stored[f"{label}.int8"] * stored[f"{label}.scales"]).T
        return weight * stored.get(f"{label}.per_step", np.float32(1)), stored[f"{label}.bias"]

    keep("words.weight", stored["words.int8"] * stored["words.scales"])
    for name in model.state_dict():
        if name in stored and name != "words.weight":
            keep(name, stored[name].T if name == "head.weight" else stored[name])
    hidden, root = model.arch.hidden, float(np.sqrt(model.arch.head_dim))
    for index in range(model.arch.layers):
        prefix = f"layers.{index}"
        weight, bias = linear(f"{prefix}.qkv")
        for part, (name, unit) in enumerate((("query", root), ("key", 1.0), ("value", 1.0))):
            rows = slice(part * hidden, (part + 1) * hidden)
            keep(f"{prefix}.{name}.weight", weight[rows] * unit)
            keep(f"{prefix}.{name}.bias", bias[rows] * unit)
        for name in ("attention_out", "inner", "inner_out"):
            weight, bias = linear(f"{prefix}.{name}")
            keep(f"{prefix}.{name}.weight", weight)
            keep(f"{prefix}.{name}.bias", bias)
    model.load_state_dict(state)
    return model


def starting_point(directory: Path, dropout: float = 0.1) -> CausalClassifier:
    """The network to train from: a pack's, or the sentence encoder's; emoji that are new get a first meaning."""
    is_pack = (directory / "model.onnx").exists()
    model = (from_pack if is_pack else from_sentence_encoder)(directory, dropout)
    table = model.words.weight.data
    for token, pieces in first_embeddings(directory).items():
        table[token] = table[pieces].mean(0)
    return model


def load_checkpoint(path: Path) -> CausalClassifier:
    """Read the model of a training checkpoint, in evaluation mode."""
    model = CausalClassifier()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    model.eval()
    return model
