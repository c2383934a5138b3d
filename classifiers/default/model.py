"""The network: all-MiniLM-L6 made causal, with one linear head per role on every token.

The sentence encoder's weights are kept; only the attention mask changes (left to right) and two
heads are added. The token type embedding is a constant here, so it is folded into the positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

CATEGORIES = (
    "self_harm",
    "mental_distress",
    "violence",
    "hate_harassment",
    "sexual",
    "child_safety",
    "weapons_cbrn",
    "drugs",
    "crime_other",
    "cyber",
    "fraud_scam",
    "privacy_pii",
    "injection_jailbreak",
    "medical_advice",
    "misinformation",
    "other_unethical",
    "any_harm",
)
ROLES = ("user", "assistant")
"""Order of the heads in the model's output; a system turn is context and has no head."""

ROLE_MARKERS = {"user": "[unused1]", "assistant": "[unused2]", "system": "[unused3]"}
START_TOKEN = "[CLS]"  # noqa: S105


@dataclass(frozen=True)
class Architecture:
    """Sizes of the encoder; the defaults are all-MiniLM-L6's."""

    vocabulary: int = 30522
    positions: int = 512
    layers: int = 6
    heads: int = 12
    hidden: int = 384
    inner: int = 1536
    norm_eps: float = 1e-12

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


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


def load_checkpoint(path: Path) -> CausalClassifier:
    """Read the model of a training checkpoint, in evaluation mode."""
    model = CausalClassifier()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    model.eval()
    return model
