"""The floor to beat: logistic regression on words and pairs of words, trained on the same rows.

Run `python -m classifiers.default.floor --data DIR --chitchat FILE --output floor.json`. One model a role;
AUC per set of the report fold, as `classifiers.evaluate` gives it for a pack.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from classifiers.default.data import SMALL_TALK_ROWS, choose, read_chitchat, read_rows
from classifiers.default.sets import fold
from classifiers.default.sets import rows as unseen_rows

Row = dict[str, Any]
FEWEST = 10


def text_of(row: Row) -> str:
    """The turn, and for answers what was asked, set apart so that its words count as other words."""
    if row["role"] == "user" or not row.get("prompt"):
        return str(row["text"])
    asked = " ".join(f"q_{word}" for word in str(row["prompt"]).lower().split()[:120])
    return f"{row['text']} {asked}"


def floor(train: Sequence[Row], unseen: Sequence[Row], role: str) -> dict[str, Any]:
    """AUC per set with both classes."""
    mine = [r for r in train if r["role"] == role and r["harm"] is not None]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(C=4.0, max_iter=300))
    model.fit([text_of(r) for r in mine], [r["harm"] for r in mine])
    sets: dict[str, list[Row]] = {}
    for row in unseen:
        if row["role"] == role and row["harm"] is not None:
            sets.setdefault(row["src"], []).append(row)
    out: dict[str, Any] = {}
    for source, members in sorted(sets.items()):
        target = [r["harm"] for r in members]
        if min(sum(target), len(target) - sum(target)) >= FEWEST:
            score = model.predict_proba([text_of(r) for r in members])[:, 1]
            out[source] = {"turns": len(members), "auc": round(float(roc_auc_score(target, score)), 3)}
    return out


def main() -> None:
    """Train and measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--chitchat", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    rng = random.Random(1)
    public = list(read_rows(args.data / "train.jsonl.gz"))
    train = choose(public + list(read_chitchat(args.chitchat, rng, SMALL_TALK_ROWS)), rng)
    unseen = [r for r in unseen_rows(args.data, args.chitchat) if fold(r) == "report"]
    result = {role: floor(train, unseen, role) for role in ("user", "assistant")}
    args.output.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
