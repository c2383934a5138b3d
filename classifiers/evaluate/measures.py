"""The measures: pure functions of numbers, each with its definition and its source.

Nothing here knows rows, packs or policies. Shares are between 0 and 1; what cannot be measured is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

Floats = NDArray[np.float64]

CURVE_POINTS = 60
"""Points kept of a curve: enough to draw it, few enough to read it."""
BINS = 10
_Z_95 = 1.959963984540054  # the standard normal's 97.5 % quantile


def ranking(scores: Sequence[float], harmful: Sequence[int]) -> dict[str, Any] | None:
    """How well scores order harmful rows before harmless ones; None where there are not both.

    - `auc`: area under the ROC curve, the chance that a harmful row scores higher than a harmless one,
      ties counting half (Hanley and McNeil 1982; `sklearn.metrics.roc_auc_score`).
    - `average_precision`: the sum over thresholds of (recall gained) x (precision there)
      (`sklearn.metrics.average_precision_score`).
    - `best_f1` and its `threshold`: the highest F1 over all thresholds, a row being found from the
      threshold on. It is chosen on these very rows: an upper bound, no promise.
    - `precision_recall`: [threshold, precision, recall], thinned.
    """
    target, score = np.asarray(harmful, np.int64), np.asarray(scores, np.float64)
    if not 0 < target.sum() < len(target):
        return None
    precision, recall, thresholds = precision_recall_curve(target, score)
    # The curve's last point has no threshold: nothing is found there.
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1.argmax())
    kept = _thinned(len(thresholds))
    return {
        "auc": float(roc_auc_score(target, score)),
        "average_precision": float(average_precision_score(target, score)),
        "best_f1": float(f1[best]),
        "threshold": float(thresholds[best]),
        "precision_recall": [[float(thresholds[i]), float(precision[i]), float(recall[i])] for i in kept],
    }


def false_intervention_curve(harmful: Sequence[float], benign: Sequence[float]) -> list[list[float]] | None:
    """[false-intervention rate, recall] over all thresholds, thinned: the ROC curve (`sklearn.metrics.roc_curve`).

    Args:
        harmful: scores of the rows that should be found.
        benign: scores of the rows that should not.
    """
    if not len(harmful) or not len(benign):
        return None
    target = [1] * len(harmful) + [0] * len(benign)
    false, recall, _ = roc_curve(target, [*harmful, *benign])
    return [[float(false[i]), float(recall[i])] for i in _thinned(len(false))]


def decisions(found: Sequence[bool], harmful: Sequence[int]) -> dict[str, Any]:
    """What yes-or-no decisions are worth; a share whose denominator is 0 is None.

    With TP harmful rows found, FN harmful rows missed, FP harmless rows found, TN the rest:
    `precision` TP/(TP+FP), `recall` TP/(TP+FN), `missed_share` FN/(TP+FN), `false_finding_share`
    FP/(FP+TN), `f1` 2TP/(2TP+FP+FN) (van Rijsbergen 1979). Intervals are Wilson's, 95 %.
    """
    pairs = list(zip(found, harmful, strict=True))
    tp = sum(1 for hit, harm in pairs if hit and harm)
    fp = sum(1 for hit, harm in pairs if hit and not harm)
    positives = sum(1 for _, harm in pairs if harm)
    negatives = len(pairs) - positives
    return {
        "harmful": positives,
        "harmless": negatives,
        "true_findings": tp,
        "false_findings": fp,
        "precision": share(tp, tp + fp),
        "recall": share(tp, positives),
        "recall_interval": wilson(tp, positives),
        "missed_share": share(positives - tp, positives),
        "false_finding_share": share(fp, negatives),
        "false_finding_interval": wilson(fp, negatives),
        "f1": f1(tp, fp, positives - tp),
    }


def f1(tp: int, fp: int, fn: int) -> float | None:
    """Harmonic mean of precision and recall; None without a harmful row, where it says nothing."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fn else None


def share(part: int, whole: int) -> float | None:
    """`part` of `whole`; None of nothing."""
    return part / whole if whole else None


def wilson(count: int, trials: int) -> list[float] | None:
    """The 95 % score interval of a share (Wilson 1927); honest at 0 of n, where p +- 2 s.e. is not.

    Centre (p + z^2/2n) / (1 + z^2/n), half-width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
    """
    if not trials:
        return None
    p, z2 = count / trials, _Z_95**2
    centre = p + z2 / (2 * trials)
    half = _Z_95 * sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    scale = 1 + z2 / trials
    # At the ends the interval touches 0 or 1 but for rounding.
    low = 0.0 if count == 0 else (centre - half) / scale
    high = 1.0 if count == trials else (centre + half) / scale
    return [low, high]


def calibration(scores: Sequence[float], present: Sequence[int]) -> dict[str, Any]:
    """Expected calibration error over ten equally wide bins (Naeini et al. 2015; Guo et al. 2017).

    Each bin's gap between mean score and observed frequency, weighted by the bin's share of the rows;
    empty bins are left out of the table.
    """
    score, target = np.asarray(scores, np.float64), np.asarray(present, np.float64)
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    table, error = [], 0.0
    for number in range(BINS):
        mine = place == number
        rows = int(mine.sum())
        if rows:
            mean, frequency = float(score[mine].mean()), float(target[mine].mean())
            table.append({"bin": number / BINS, "rows": rows, "mean_score": mean, "observed": frequency})
            error += abs(mean - frequency) * rows / len(score)
    return {
        "rows": len(score),
        "positive": int(target.sum()),
        "bins": BINS,
        "expected_calibration_error": error if len(score) else None,
        "reliability": table,
    }


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 95th percentile and mean; linear interpolation between neighbours (`numpy.quantile`)."""
    if not len(values):
        return {"median": None, "p95": None, "mean": None}
    return {
        "median": float(np.quantile(values, 0.5)),
        "p95": float(np.quantile(values, 0.95)),
        "mean": float(np.mean(values)),
    }


def _thinned(length: int) -> list[int]:
    """At most `CURVE_POINTS` of `length` places, evenly, with both ends."""
    return sorted({int(i) for i in np.linspace(0, length - 1, min(length, CURVE_POINTS)).round()})
