"""Fit the calibration of each head and choose the recommended operating points.

Run `python -m classifiers.default.calibrate --scores scores.pkl --output calibration.json`.

Calibration is Platt's: score = sigmoid(scale * logit + offset), fitted on the last token of labelled
turns. Operating points are set from the benign side, on each turn's judged tokens: an operator has
499 benign turns for every harmful one, so what may be disturbed is fixed first, for all categories
together, and spent where it finds most.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.labels import ANY
from classifiers.default.scoring import Scored, load
from classifiers.default.sets import Row
from classifiers.evaluate.rows import LabelledRow
from classifiers.evaluate.truth import truth
from guardrail.core.verdicts import Role

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Calibration = dict[str, dict[str, dict[str, float]]]
Points = dict[str, dict[str, dict[int, float] | None]]

FEWEST_POSITIVES = 10
UNTRAINED = frozenset({("assistant", "injection_jailbreak")})
"""Heads for which the training sets hold no positive at all."""
HELPING = {"self_harm": (0.006, 0.05), "mental_distress": (0.015, 0.5)}
"""User categories whose findings lead to an offer of help, never to a block: their own shares."""
BUDGET = {
    "user": {1: (0.02, 0.08), 2: (0.006, 0.045), 3: (0.001, 0.01)},
    "assistant": {1: (0.01, 0.06), 2: (0.0025, 0.03), 3: (0.0005, 0.008)},
}
"""Per severity: shares of ordinary and of hard benign turns that all other categories may reach together."""
ANY_SHARE = 0.7
"""Part of a budget that `any_harm` may spend, as it finds most."""
HARD_ROWS_A_SOURCE = 200
LOWEST = {1: 0.15, 2: 0.25, 3: 0.4}
"""No point is lower, however clean the benign turns of the development sets are."""
FEWEST_CAUGHT = 0.03
"""A category that finds less than this share of its harmful turns at severity 2 gets no point."""
MARGIN = 0.02
"""Logits by which a point stays above the benign turn it was set by."""
OWN_INSERTS = frozenset(
    {"generated_support", "generated_insert", "generated_constructive", "generated_own_words"}
)
"""Texts such as the project inserts itself: never a finding, when they stand by themselves."""


def sigmoid(x: Floats) -> Floats:
    """The logistic function."""
    return np.asarray(1 / (1 + np.exp(-x)))


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


@dataclass
class Benign:
    """Turns that must not be found: judged logits [turns, 17], and which of them already are found.

    Every source weighs the same, so that a large easy set does not hide a small hard one.
    """

    logits: Floats
    weight: Floats
    """[turns], 1 in all."""
    found: Flags

    @classmethod
    def of(cls, items: Sequence[Scored]) -> Benign:
        """None of `items` is found yet."""
        table = np.array([i.judged for i in items], dtype=np.float64).reshape(-1, len(CATEGORIES))
        sizes = Counter(str(i.case.row["src"]) for i in items)
        weight = [1 / (len(sizes) * sizes[i.case.row["src"]]) for i in items]
        return cls(table, np.array(weight), np.zeros(len(items), dtype=bool))

    @property
    def share_found(self) -> float:
        """Weighted share of the turns that are found."""
        return float(self.weight[self.found].sum())

    def lowest(self, column: int, share: float) -> float:
        """The lowest logit of a category that newly finds at most `share` of the turns."""
        fresh = np.flatnonzero(~self.found)
        order = fresh[np.argsort(-self.logits[fresh, column], kind="stable")]
        over = np.flatnonzero(np.cumsum(self.weight[order]) > share)
        return float(self.logits[order[over[0]], column]) + MARGIN if len(over) else -np.inf

    def find(self, column: int, point: float) -> None:
        """Mark the turns that a point finds."""
        self.found |= self.logits[:, column] >= point


def benign(scored: Iterable[Scored], role: str, *, hard: bool) -> list[Scored]:
    """Turns that must not be found: ordinary ones, or hard ones (constructive, look-alikes)."""
    out = []
    counts: Counter[str] = Counter()
    for item in scored:
        row = item.case.row
        if row["role"] != role or row["harm"] != 0 or row["lang"] != "en" or row["labels"]:
            continue
        groups = {"constructive", "lookalike", "generated"} if hard else {"ordinary"}
        if row["group"] not in groups:
            continue
        counts[row["src"]] += 1
        if not hard or counts[row["src"]] <= HARD_ROWS_A_SOURCE:
            out.append(item)
    return out


def logit(score: float) -> float:
    """Inverse of the logistic function."""
    return float(np.log(score / (1 - score)))


class Chooser:
    """Chooses the points of one role and severity within its budget."""

    def __init__(self, scored: list[Scored], role: str, level: int, calibration: Calibration) -> None:
        mine = [s for s in scored if s.case.role == role]
        own = [s for s in mine if role == "assistant" and s.case.row["src"] in OWN_INSERTS]
        self.role, self.level, self.heads = role, level, calibration[role]
        self.ordinary = Benign.of(benign(mine, role, hard=False))
        self.hard = Benign.of(benign(mine, role, hard=True))
        self.inserts = Benign.of(own).logits

    def point(self, column: int, ordinary_share: float, hard_share: float) -> float:
        """A calibrated threshold; what it finds is marked."""
        line = self.heads[CATEGORIES[column]]
        need = (logit(LOWEST[self.level]) - line["offset"]) / line["scale"]
        need = max(need, self.ordinary.lowest(column, ordinary_share), self.hard.lowest(column, hard_share))
        if self.level > 1 and len(self.inserts):
            need = max(need, float(self.inserts[:, column].max()) + MARGIN)
        self.ordinary.find(column, need)
        self.hard.find(column, need)
        return float(sigmoid(np.array(line["scale"] * need + line["offset"])))

    def choose(self) -> dict[str, float]:
        """Points of all categories: `any_harm` first, the others share what is left of the budget."""
        out: dict[str, float] = {}
        helping = HELPING if self.role == "user" else {}
        scale = {1: 2.0, 2: 1.0, 3: 0.3}[self.level]
        for name, (ordinary, hard) in helping.items():
            out[name] = self.point(CATEGORIES.index(name), scale * ordinary, scale * hard)
        self.ordinary.found[:] = self.hard.found[:] = False
        ordinary, hard = BUDGET[self.role][self.level]
        out["any_harm"] = self.point(ANY, ANY_SHARE * ordinary, ANY_SHARE * hard)
        rest = [c for c in CATEGORIES if c not in out and (self.role, c) not in UNTRAINED]
        for done, name in enumerate(rest):
            # What one leaves unspent goes to the next.
            left = [
                budget - table.found.mean()
                for budget, table in ((ordinary, self.ordinary), (hard, self.hard))
            ]
            shares = (max(0.0, part) / (len(rest) - done) for part in left)
            out[name] = self.point(CATEGORIES.index(name), *shares)
        return out


def choose_points(scored: list[Scored], calibration: Calibration) -> Points:
    """Thresholds per role, category and severity; None where a head is of no use."""
    out: Points = {}
    for role in ROLES:
        chosen = {level: Chooser(scored, role, level, calibration).choose() for level in (1, 2, 3)}
        out[role] = dict.fromkeys(CATEGORIES)
        for name in chosen[2]:
            column = CATEGORIES.index(name)
            lowest = 1 if name == "mental_distress" else 2
            line = calibration[role][name]
            harmful = [s for s in scored if s.case.role == role and s.case.row["group"] != "splice"
                       and (s.case.row["labels"].get(name, 0) >= lowest
                            or (column == ANY and s.case.row["harm"] == 1))]  # fmt: skip
            scores = [float(sigmoid(line["scale"] * s.judged[column] + line["offset"])) for s in harmful]
            points: dict[int, float] = {}
            for level in (1, 2, 3):
                points[level] = round(max(chosen[level][name], *points.values(), 0.0), 4)
            if harmful and np.mean(np.array(scores) >= points[2]) < FEWEST_CAUGHT:
                continue
            out[role][name] = points
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
