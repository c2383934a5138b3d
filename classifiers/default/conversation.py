"""From turns to token ids: the start token, a marker per turn, WordPiece, and scored spans.

The engine encodes a conversation in the same way; the golden file holds both to it.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from classifiers.default.architecture import CATEGORIES, ROLE_MARKERS, START_TOKEN
from classifiers.default.emoji import load_tokenizer

Floats = NDArray[np.float32]

SYSTEM_TURNS = (
    "You are a helpful assistant.",
    "You are a helpful, honest assistant. Answer briefly.",
    "You are the support assistant of an online shop.",
    "You are a coding assistant.",
    "Answer in English. Be friendly.",
)

HELD_BACK_PERCENT = {
    "arena_hard": 20,
    "arena_hard_prompts": 20,
    "self_instruct_user": 40,
    "chitchat": 20,
    "caia_constructive": 10,
    "caia_constructive_prompts": 10,
    "star1_safe": 12,
    "star1_safe_prompts": 12,
    "coconot_pref": 20,
    "coconot_pref_responses": 20,
    "hh_harmless_test": 10,
    "smollm2_answers": 20,
}
"""Share of a training source that is kept for measuring false interventions, by prompt."""


def _no_labels() -> Floats:
    return np.zeros(len(CATEGORIES), dtype=np.float32)


@dataclass
class Span:
    """A scored turn: tokens [start, end), role 0 user or 1 assistant, first harmful token."""

    role: int
    target: Floats = field(default_factory=_no_labels)
    weight: Floats = field(default_factory=_no_labels)
    onset: int = -1
    """Tokens after `start` at which a harmful text turns harmful; -1 where that is not known."""
    start: int = 0
    end: int = 0


@dataclass
class Example:
    """One conversation: token ids and its scored spans."""

    ids: list[int]
    spans: list[Span] = field(default_factory=list)


def held_back(row: dict[str, Any]) -> bool:
    """Whether a row is kept out of training to measure false interventions with."""
    percent = 10 if row["src"].startswith("written_") else HELD_BACK_PERCENT.get(row["src"], 0)
    key = (row.get("prompt") if row["role"] == "assistant" else None) or row["text"]
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100 < percent


class Encoder:
    """WordPiece with role markers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.start_id = vocabulary[START_TOKEN]
        self.markers = {role: vocabulary[marker] for role, marker in ROLE_MARKERS.items()}

    @classmethod
    def load(cls, directory: Path) -> Encoder:
        """Read `tokenizer.json` of the sentence encoder or of a pack."""
        return cls(load_tokenizer(directory))

    def pieces(self, text: str) -> list[int]:
        """Token ids of a text alone, without special tokens."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def start(self, rng: random.Random | None = None) -> Example:
        """Begin a conversation; with `rng`, one in ten gets a system turn."""
        example = Example([self.start_id])
        if rng is not None and rng.random() < 0.1:
            self.turn(example, "system", rng.choice(SYSTEM_TURNS), 32)
        return example

    def turn(self, example: Example, role: str, text: str, limit: int, span: Span | None = None) -> None:
        """Append a turn of at most `limit` tokens; `span`, if given, is placed on its text."""
        example.ids.append(self.markers[role])
        # Cutting the text first keeps very long rows cheap; no token is longer than its text.
        pieces = self.pieces(text[: limit * 12])[:limit]
        if span is not None and pieces:
            span.start = len(example.ids)
            span.end = span.start + len(pieces)
            example.spans.append(span)
        example.ids.extend(pieces)


def onset_token(encoder: Encoder, row: dict[str, Any]) -> int:
    """Onset of a row in tokens (its `onset` is in characters), or -1."""
    if "onset" not in row:
        return -1
    return len(encoder.pieces(row["text"][: row["onset"]]))
