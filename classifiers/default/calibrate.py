"""Fit the calibration of each head and choose the recommended operating points.

Run `python -m classifiers.default.calibrate --scores scores.pkl --output calibration.json`.

Calibration is Platt's: score = sigmoid(scale * logit + offset), fitted on the last token of labelled
turns. Operating points are set from the benign side, on each turn's highest token: an operator has
499 benign turns for every harmful one, so what a category may cost is fixed first.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from classifiers.default.labels import ANY, targets
from classifiers.default.model import CATEGORIES, ROLES
from classifiers.default.scoring import Scored, load

Floats = NDArray[np.float64]
Calibration = dict[str, dict[str, dict[str, float]]]
Points = dict[str, dict[str, dict[int, float] | None]]

FEWEST_POSITIVES = 10
UNTRAINED = frozenset({("assistant", "injection_jailbreak"), ("assistant", "other_unethical")})
"""Heads for which the training sets hold no positive at all."""
ORDINARY_SHARE = {1: 0.005, 2: 0.0008, 3: 0.0004}
"""Share of ordinary benign turns that may reach each severity's threshold, per category."""
REDIRECT_SHARE = {
    ("user", "mental_distress"): {1: 0.04, 2: 0.02, 3: 0.005},
    ("user", "self_harm"): {1: 0.01, 2: 0.005, 3: 0.002},
}
"""The same where a finding leads to an offer of help and never to a block."""
HARD_SHARE = {
    "user": {1: 0.06, 2: 0.03, 3: 0.01},
    "assistant": {1: 0.03, 2: 0.015, 3: 0.005},
}
"""The same for hard-benign prompts and constructive answers, for every other category."""
HARD_ROWS_A_SOURCE = 200
OWN_INSERTS = frozenset(
    {"generated_support", "generated_insert", "generated_constructive", "generated_own_words"}
)
"""Texts such as the project inserts itself: never a finding, when they stand by themselves."""
LOWEST = {
    "user": {1: 0.2, 2: 0.35, 3: 0.55},
    # An answer is changed at severity 2: between 0.5 and 0.8 there are about as many harmless turns as
    # harmful ones, and traffic has hundreds of harmless ones for each of those.
    "assistant": {1: 0.2, 2: 0.8, 3: 0.85},
}
HIGHEST = {1: 0.98, 2: 0.99, 3: 0.999}
FEWEST_CAUGHT = 0.03
"""A category that finds less than this share of its harmful turns at severity 2 gets no point."""
HEADROOM = 0.005


def sigmoid(x: Floats) -> Floats:
    """The logistic function."""
    return np.asarray(1 / (1 + np.exp(-x)))


def known(item: Scored) -> tuple[Floats, Floats]:
    """Target and weight of a scored turn, [17]; distress without a label is not absent."""
    case = item.case
    target, weight = targets(case.labels, case.harm, case.role, case.source)
    if case.source == "caia_constructive_prompts":
        weight[CATEGORIES.index("self_harm")] = 0
    return target.astype(np.float64), weight.astype(np.float64)


def labelled(scored: Iterable[Scored], role: str, column: int) -> tuple[Floats, Floats]:
    """(last-token logits, targets 0 or 1) of the turns whose label is known."""
    rows = []
    for item in scored:
        if item.case.role != role or item.case.group in {"splice", "generated"}:
            continue
        target, weight = known(item)
        # Mild rows are neither 0 nor 1.
        if weight[column] > 0 and target[column] in {0.0, 1.0}:
            rows.append((item.logits[-1, column], target[column]))
    array = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def platt(logits: Floats, target: Floats) -> tuple[float, float]:
    """Scale and offset, both classes weighing the same up to the square root of their ratio."""
    positives, negatives = target.sum(), (1 - target).sum()
    if min(positives, negatives) < FEWEST_POSITIVES:
        return 1.0, 0.0
    ratio = np.sqrt(negatives / positives)
    fit = LogisticRegression(C=10.0).fit(
        logits[:, None], target, sample_weight=np.where(target == 1, ratio, 1.0)
    )
    scale, offset = float(fit.coef_[0, 0]), float(fit.intercept_[0])
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


def calibrated(item: Scored, calibration: Calibration, *, highest: bool = True) -> Floats:
    """Calibrated scores of a turn: [17] at its highest token, or [tokens, 17]."""
    heads = calibration[item.case.role]
    scale = np.array([heads[c]["scale"] for c in CATEGORIES])
    offset = np.array([heads[c]["offset"] for c in CATEGORIES])
    return sigmoid(scale * (item.highest if highest else item.logits) + offset)


def benign(scored: Iterable[Scored], role: str, *, hard: bool) -> list[Scored]:
    """Turns that must not be found: ordinary ones, or hard ones (constructive, look-alikes)."""
    out = []
    counts: Counter[str] = Counter()
    for item in scored:
        case = item.case
        if case.role != role or case.harm != 0 or case.lang != "en" or case.labels:
            continue
        is_hard = case.group in {"constructive", "generated", "kept"} or case.source in {
            "jbb_behaviors",
            "cyberseceval_frr",
        }
        if is_hard != hard or (not hard and case.group != "ordinary"):
            continue
        counts[case.source] += 1
        if not hard or counts[case.source] <= HARD_ROWS_A_SOURCE:
            out.append(item)
    return out


def head_points(  # noqa: PLR0917
    role: str, name: str, ordinary: Floats, hard: Floats, inserts: Floats, harmful: Floats
) -> dict[int, float] | None:
    """Thresholds of one head per severity, from the highest scores of turns of each kind."""
    helps = (role, name) in REDIRECT_SHARE
    share = REDIRECT_SHARE.get((role, name), ORDINARY_SHARE)
    points: dict[int, float] = {}
    for level in (1, 2, 3):
        need = float(np.quantile(ordinary, 1 - share[level]))
        if not helps:
            need = max(need, float(np.quantile(hard, 1 - HARD_SHARE[role][level])))
        if level > 1 and len(inserts):
            need = max(need, float(inserts.max()))
        if need + HEADROOM > HIGHEST[level]:
            return None  # Even the highest threshold would let too much through.
        points[level] = round(max([need + HEADROOM, LOWEST[role][level], *points.values()]), 3)
    caught = float((harmful >= points[2]).mean()) if len(harmful) else 0.0
    return points if caught >= FEWEST_CAUGHT else None


def choose_points(scored: list[Scored], calibration: Calibration) -> Points:
    """Thresholds per role, category and severity; None where a head is of no use."""
    out: Points = {}
    for role in ROLES:
        out[role] = {}
        mine = [s for s in scored if s.case.role == role and s.case.group != "splice"]

        def table(items: list[Scored]) -> Floats:
            rows = [calibrated(item, calibration) for item in items]
            return np.array(rows).reshape(-1, len(CATEGORIES))

        ordinary = table(benign(mine, role, hard=False))
        hard = table(benign(mine, role, hard=True))
        own = [s for s in mine if s.case.source in OWN_INSERTS and role == "assistant"]
        inserts = table(own)
        for column, name in enumerate(CATEGORIES):
            lowest = 1 if name == "mental_distress" else 2
            harmful = table([s for s in mine if s.case.labels.get(name, 0) >= lowest
                             or (column == ANY and s.case.harm == 1)])  # fmt: skip
            columns = (t[:, column] for t in (ordinary, hard, inserts, harmful))
            trained = (role, name) not in UNTRAINED
            out[role][name] = head_points(role, name, *columns) if trained else None
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
