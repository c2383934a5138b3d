"""Fit the calibration of each head and choose the recommended operating points.

Run `python -m classifiers.default.calibrate --scores scores.pkl --output calibration.json`.

Calibration is Platt's: score = sigmoid(scale * logit + offset), fitted on the last token of labelled
turns; the operating points are chosen by `points`, on each turn's judged tokens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.points import UNTRAINED, Calibration, choose_points
from classifiers.default.scoring import Scored, load
from classifiers.default.sets import Row
from classifiers.evaluate.rows import LabelledRow
from classifiers.evaluate.truth import truth
from guardrail.core.verdicts import Role

Floats = NDArray[np.float64]

FEWEST_POSITIVES = 10


def known(row: Row, name: str) -> int | None:
    """Whether a row has a category, as reports count it; None where nobody knows."""
    if row["src"] == "caia_constructive_prompts" and name == "self_harm":
        return None  # Its topic is distress, of every depth.
    labelled = LabelledRow(
        "", "", row["src"], Role(row["role"]), row["lang"], row["text"], (), row["labels"], row["harm"],
        row["group"], row.get("onset"),
    )  # fmt: skip
    return truth(labelled, name)


def labelled(scored: Iterable[Scored], role: str, column: int) -> tuple[Floats, Floats]:
    """(last-token logits, targets 0 or 1) of the turns whose label is known."""
    rows = []
    for item in scored:
        if item.case.role != role or item.case.row["group"] in {"splice", "generated"}:
            continue
        target = known(item.case.row, CATEGORIES[column])
        if target is not None:
            rows.append((item.last[column], target))
    array = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def platt(logits: Floats, target: Floats) -> tuple[float, float]:
    """Scale and offset by maximum likelihood (Platt 1999, without its smoothing)."""
    if min(target.sum(), (1 - target).sum()) < FEWEST_POSITIVES:
        return 1.0, 0.0
    fitted = LogisticRegression(C=10.0).fit(logits[:, None], target)
    scale, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    # A head that does not order the development rows keeps its own scale.
    return (scale, offset) if scale > 0.2 else (1.0, 0.0)


def fit(scored: list[Scored]) -> Calibration:
    """Calibrate every head."""
    out: Calibration = {}
    for role in ROLES:
        out[role] = {}
        for column, name in enumerate(CATEGORIES):
            scale, offset = 1.0, 0.0
            if (role, name) not in UNTRAINED:
                scale, offset = platt(*labelled(scored, role, column))
            out[role][name] = {"scale": round(scale, 4), "offset": round(offset, 4)}
    return out


def main() -> None:
    """Fit and choose from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    scored = load(args.scores)
    calibration = fit(scored)
    points = choose_points(scored, calibration)
    result = {"calibration": calibration, "operating_points": points}
    args.output.write_text(json.dumps(result, indent=1), encoding="utf-8")
    for role in ROLES:
        for name in CATEGORIES:
            print(role, name, calibration[role][name], points[role][name])


if __name__ == "__main__":
    main()
