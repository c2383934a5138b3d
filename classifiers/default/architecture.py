"""What the network looks like from outside: its sizes, categories, roles and markers. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass

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
GELU_SHIFT = 0.17
"""Gelu's lowest value is -0.16997 (at -0.7518): the int8 graph adds this and has no sign to keep."""


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
