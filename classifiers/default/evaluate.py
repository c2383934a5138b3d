"""Report what a scored pack is worth: accuracy, false interventions, delay, calibration.

Run `python -m classifiers.default.evaluate --scores scores.pkl --calibration calibration.json
--output report.json`. A finding is a score at or over its category's operating point for severity
2; a turn's score is that of its highest token, which is what a stream would have seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_auc_score

from classifiers.default.calibrate import Calibration, Points, calibrated, known
from classifiers.default.labels import ANY
from classifiers.default.model import CATEGORIES, ROLES
from classifiers.default.scoring import Scored, load

Floats = NDArray[np.float64]
FEWEST = 10


def thresholds(points: Points, role: str, level: int) -> Floats:
    """Operating points of a severity, [17]; infinity where a category has none."""
    found = (points[role][name] for name in CATEGORIES)
    return np.array([p[level] if p else np.inf for p in found])


def ranking(score: Sequence[float], target: Sequence[int]) -> dict[str, float]:
    """AUC and the best F1 over all thresholds, in percent points of 1."""
    precision, recall, _ = precision_recall_curve(target, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    return {
        "auc": round(float(roc_auc_score(target, score)), 3),
        "best_f1": round(float(f1.max()), 3),
    }


def expected_calibration_error(score: Floats, target: Floats, bins: int = 10) -> float:
    """Mean gap between score and frequency over equally wide bins, weighted by their size."""
    place = np.minimum((score * bins).astype(int), bins - 1)
    gaps = [abs(score[place == b].mean() - target[place == b].mean()) * (place == b).mean()
            for b in range(bins) if (place == b).any()]  # fmt: skip
    return float(np.sum(gaps))


def by_set(scored: list[Scored], calibration: Calibration, points: Points) -> dict[str, Any]:
    """Harm against no harm, for every development set with both classes."""
    groups: dict[tuple[str, str], list[Scored]] = {}
    for item in scored:
        if item.case.group in {"dev", "constructive"} and item.case.harm is not None:
            groups.setdefault((item.case.role, item.case.source), []).append(item)
    out: dict[str, Any] = {}
    for (role, source), items in sorted(groups.items()):
        target = [int(i.case.harm or 0) for i in items]
        limits = thresholds(points, role, 2)
        hits = [bool((calibrated(i, calibration) >= limits).any()) for i in items]
        row: dict[str, Any] = {"role": role, "turns": len(items), "harmful": sum(target)}
        true = sum(h and bool(t) for h, t in zip(hits, target, strict=True))
        if sum(target):
            row["found"] = round(true / sum(target), 3)
        if len(items) > sum(target):
            row["false_findings"] = round((sum(hits) - true) / (len(items) - sum(target)), 4)
        if min(sum(target), len(target) - sum(target)) >= FEWEST:
            whole = [float(calibrated(i, calibration, highest=False)[-1, ANY]) for i in items]
            stream = [float(calibrated(i, calibration)[ANY]) for i in items]
            row["last_token"] = ranking(whole, target)
            row["highest_token"] = ranking(stream, target)
            row["f1_shipped"] = round(2 * true / max(sum(hits) + sum(target), 1), 3)
        out[source] = row
    return out


def by_category(scored: list[Scored], calibration: Calibration) -> dict[str, Any]:
    """AUC and calibration error per head, last token, development and held-back turns."""
    out: dict[str, Any] = {}
    for role in ROLES:
        mine = [i for i in scored if i.case.role == role and i.case.lang == "en"
                and i.case.group not in {"splice", "generated"}]  # fmt: skip
        for column, name in enumerate(CATEGORIES):
            pairs = []
            for item in mine:
                target, weight = known(item)
                if weight[column] > 0 and target[column] in {0.0, 1.0}:
                    score = calibrated(item, calibration, highest=False)[-1, column]
                    pairs.append((score, target[column]))
            table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
            positives = int(table[:, 1].sum())
            if min(positives, len(table) - positives) < FEWEST:
                continue
            out[f"{role}.{name}"] = {
                "turns": len(table),
                "positive": positives,
                "auc": round(float(roc_auc_score(table[:, 1], table[:, 0])), 3),
                "ece": round(expected_calibration_error(table[:, 0], table[:, 1]), 3),
            }
    return out


def false_findings(scored: list[Scored], calibration: Calibration, points: Points) -> Any:
    """Share of benign turns with a finding, by group and role, at each severity's points."""
    out: dict[str, Any] = {}
    for item in scored:
        case = item.case
        if case.harm != 0 or case.lang not in {"en", "und"} or case.group == "splice" or case.labels:
            continue
        if case.group not in {"ordinary", "constructive", "generated"}:
            continue
        for name in (f"{case.group}.{case.role}", f"{case.group}.{case.role}.{case.source}"):
            row = out.setdefault(name, {"turns": 0, "tokens": 0, "at": {1: 0, 2: 0, 3: 0}, "by": {}})
            row["turns"] += 1
            row["tokens"] += len(item.logits)
            score = calibrated(item, calibration)
            for level in (1, 2, 3):
                over = score >= thresholds(points, case.role, level)
                row["at"][level] += int(over.any())
                if level == 2:
                    for column in np.flatnonzero(over):
                        row["by"][CATEGORIES[column]] = row["by"].get(CATEGORIES[column], 0) + 1
    for row in out.values():
        row["at"] = {k: round(v / row["turns"], 4) for k, v in row["at"].items()}
    return out


def delays(scored: list[Scored], calibration: Calibration, points: Points) -> dict[str, Any]:
    """Tokens from a splice's onset to the first finding."""
    limits = thresholds(points, "assistant", 2)
    waited, missed, early = [], 0, 0
    splices = [i for i in scored if i.case.group == "splice"]
    for item in splices:
        over = (calibrated(item, calibration, highest=False) >= limits).any(axis=1)
        places = np.flatnonzero(over)
        if not len(places):
            missed += 1
        elif places[0] < item.case.onset:
            early += 1
        else:
            waited.append(int(places[0]) - item.case.onset + 1)
    out: dict[str, Any] = {"splices": len(splices), "missed": missed, "before_onset": early}
    if waited:
        out["median_tokens"] = float(np.median(waited))
        out["p95_tokens"] = float(np.quantile(waited, 0.95))
    return out


def disclosures(scored: list[Scored], calibration: Calibration, points: Points) -> dict[str, Any]:
    """Recall of distress and self-harm on the user side, by where the rows come from."""
    out: dict[str, Any] = {}
    for name, lowest in (("self_harm", 2), ("mental_distress", 1)):
        column, limits = CATEGORIES.index(name), thresholds(points, "user", 2)
        rows: dict[str, list[bool]] = {}
        for item in scored:
            if item.case.role == "user" and item.case.labels.get(name, 0) >= lowest:
                found = bool(calibrated(item, calibration)[column] >= limits[column])
                rows.setdefault(item.case.source, []).append(found)
        out[name] = {s: {"turns": len(v), "found": round(float(np.mean(v)), 3)}
                     for s, v in sorted(rows.items())}  # fmt: skip
    return out


def report(scored: list[Scored], calibration: Calibration, points: Points) -> dict[str, Any]:
    """Everything the card quotes."""
    return {
        "sets": by_set(scored, calibration, points),
        "categories": by_category(scored, calibration),
        "false_findings": false_findings(scored, calibration, points),
        "delays": delays(scored, calibration, points),
        "disclosures": disclosures(scored, calibration, points),
    }


def main() -> None:
    """Evaluate from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    measured = json.loads(args.calibration.read_text(encoding="utf-8"))
    points = {
        role: {name: {int(k): v for k, v in p.items()} if p else None for name, p in rows.items()}
        for role, rows in measured["operating_points"].items()
    }
    result = report(load(args.scores), measured["calibration"], points)
    text = json.dumps(result, indent=1)
    args.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
