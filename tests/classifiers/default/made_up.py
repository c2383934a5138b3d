"""Rows in the data format that stand for no public set; every text is made up."""

from __future__ import annotations

from typing import Any


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
