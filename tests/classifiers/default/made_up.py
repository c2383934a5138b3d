"""Rows in the data format that stand for no public set; every text is made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.default.architecture import CATEGORIES
from classifiers.default.conversation import Example
from classifiers.default.labels import INDEX
from classifiers.default.scoring import Scored
from classifiers.default.sets import Case

SURE = 9.0


def user(text: str, labels: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
    labels = labels or {}
    harm = int(any(level > 1 for name, level in labels.items() if name != "mental_distress"))
    row = {"src": "made_up", "role": "user", "lang": "en", "text": text, "prompt": None, "labels": labels}
    row |= {"harm": harm, "lic": "A", **more}
    return {"id": f"{row['src']}/{row['prompt']}/{text}", **row}


def answer(
    text: str, prompt: str | None, labels: dict[str, int] | None = None, **more: Any
) -> dict[str, Any]:
    return user(text, labels, **{"role": "assistant", "prompt": prompt, "harm": int(bool(labels)), **more})


def item(role="user", *, group="dev", src="made_up", labels=None, harm=0, lang="en", **logits):
    """A turn of one token with these logits, elsewhere -9."""
    row = {
        "role": role,
        "group": group,
        "src": src,
        "labels": labels or {},
        "harm": harm,
        "lang": lang,
        "text": "x",
    }
    values = np.full((1, len(CATEGORIES)), -SURE, np.float32)
    for name, value in logits.items():
        values[0, INDEX[name]] = value
    return Scored(Case(row, Example([1]), [0]), values)


def sigmoid(x: Any) -> Any:
    """The logistic function."""
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))
