"""What a pack's logits must be, worked out from a framework's label logits in plain double precision."""

from __future__ import annotations

import numpy as np

from tests.classifiers.convert.tiny import LEVELS, QUERY_CATEGORIES

WORTH = {"Safe": 0.0, "Controversial": 0.5, "Unsafe": 1.0}
GUARD_CATEGORIES = [
    "self_harm", "privacy_pii", "sexual", "violence", "crime_other", "injection_jailbreak", "other_unethical",
    "any_harm",
]  # fmt: skip
GUARD_FEEDS = {
    "self_harm": {"Suicide & Self-Harm"},
    "privacy_pii": {"PII"},
    "sexual": {"Sexual Content or Sexual Acts"},
    "violence": {"Violent"},
    "crime_other": {"Non-violent Illegal Acts"},
    "injection_jailbreak": {"Jailbreak"},
    "other_unethical": {"Unethical Acts"},
    "any_harm": {"Suicide & Self-Harm", "PII", "Sexual Content or Sexual Acts", "Violent", "Non-violent Illegal Acts",
                 "Unethical Acts"},
}  # fmt: skip


def softmax(logits):
    powers = np.exp(np.asarray(logits, float) - np.max(logits, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def log_odds(chance):
    chance = np.clip(chance, 1e-12, 1 - 1e-12)
    return np.log(chance) - np.log1p(-chance)


def guard_logits(recorded):
    """[tokens, 2, categories]."""
    sides = []
    for side, kinds in (("query_", QUERY_CATEGORIES), ("", QUERY_CATEGORIES[:-1])):
        risk = softmax(recorded[f"{side}risk_level"]) @ [WORTH[level] for level in LEVELS]
        kind = softmax(recorded[f"{side}category"])
        columns = [
            risk
            * kind[:, [index for index, name in enumerate(kinds) if name in GUARD_FEEDS[category]]].sum(
                axis=1
            )
            for category in GUARD_CATEGORIES
        ]
        sides.append(log_odds(np.stack(columns, axis=1)))
    return np.stack(sides, axis=1)


def label_logits(recorded, labels, *, exclusive):
    """[tokens, 1, (hate_harassment, violence)], for the labels of the tiny models."""
    logits = np.asarray(recorded["labels"], float)
    columns = []
    for fed in ({"insult", "threat"}, {"threat"}):
        feeding = [index for index, label in enumerate(labels) if label in fed]
        if exclusive:
            columns.append(log_odds(softmax(logits)[:, feeding].sum(axis=1)))
        else:
            columns.append(logits[:, feeding].max(axis=1))
    return np.stack(columns, axis=1)[:, None]
