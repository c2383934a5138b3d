"""From a row's labels to the targets of the 17 heads: what is known, what is not, and how sure.

A category that a source does not label is unknown, not absent. Where a row is harmless everything
is known to be 0; where it is harmful under one category, categories that often come with it stay
unknown and the unrelated ones count as weak negatives, so that the heads learn to differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from classifiers.default.architecture import CATEGORIES

Floats = NDArray[np.float32]

INDEX = {name: i for i, name in enumerate(CATEGORIES)}
ANY = INDEX["any_harm"]

OFTEN_TOGETHER: tuple[frozenset[str], ...] = (
    frozenset({"violence", "weapons_cbrn", "crime_other", "hate_harassment", "child_safety"}),
    frozenset({"self_harm", "mental_distress", "violence", "medical_advice", "drugs"}),
    frozenset({"cyber", "crime_other", "privacy_pii", "fraud_scam"}),
    frozenset({"drugs", "crime_other"}),
    frozenset({"misinformation", "fraud_scam", "hate_harassment", "medical_advice"}),
    frozenset({"sexual", "child_safety", "hate_harassment", "privacy_pii"}),
)
NEVER_SURE = frozenset({"injection_jailbreak", "other_unethical"})

TOXIC_COMMENTS = frozenset(
    {"jigsaw_binary", "paradetox", "safenlp", "davidson_hate", "edos", "hatemoji_build",
     "toxigen_prompts", "told_br", "korean_hate", "cold_zh", "convabuse", "diasafety"}
)  # fmt: skip
"""Sets that were annotated for insults only: their harmless rows say little about other harms."""

MILD_TARGET = 0.35
"""Target of severity 1: present, not enough for a finding of harm."""

WEAK_NEGATIVE = 0.3
"""Weight of a 0 that was inferred rather than annotated."""


def related(categories: Iterable[str]) -> set[str]:
    """Categories that may well be present too when `categories` are, and so are unknown."""
    found = set(NEVER_SURE)
    for name in categories:
        for group in OFTEN_TOGETHER:
            if name in group:
                found |= group
    return found


def targets(
    labels: Mapping[str, int],
    harm: int | None,
    role: str,
    source: str,
    unknown: Iterable[str] = (),
) -> tuple[Floats, Floats]:
    """Return (target, weight), each float32 [17]; weight 0 masks a head.

    `labels` maps category (or ANY) to severity 1..3; `harm` is 1, 0 or None for no verdict.
    """
    target = np.zeros(len(CATEGORIES), dtype=np.float32)
    weight = np.zeros(len(CATEGORIES), dtype=np.float32)
    named = {name: level for name, level in labels.items() if name in INDEX}
    if harm == 0:
        weight[:] = WEAK_NEGATIVE if source in TOXIC_COMMENTS else 1.0
        if source in TOXIC_COMMENTS:
            weight[INDEX["hate_harassment"]] = 1.0
            weight[ANY] = 0.6
    elif harm == 1 and named:
        weight[:] = WEAK_NEGATIVE
        for name in related(named):
            weight[INDEX[name]] = 0.0
    for name, level in named.items():
        full = level >= 2 or (name == "mental_distress" and role == "user")
        target[INDEX[name]] = 1.0 if full else MILD_TARGET
        weight[INDEX[name]] = 1.0
    if harm is not None:
        weight[ANY] = max(weight[ANY], 0.6)
        if harm == 1:
            mild = max(labels.values(), default=2) < 2
            target[ANY] = 0.5 if mild else 1.0
        elif any(level >= 1 for name, level in named.items() if name != "mental_distress"):
            target[ANY] = 0.2
    for name in unknown:
        weight[INDEX[name]] = 0.0
    return target, weight
