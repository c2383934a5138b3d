"""Judged rows to the sections of the report: which rows go into which measure.

Rows of a verdict (harm 1 or 0) enter rankings and decisions; rows without harm are what an
intervention would be false on; rows that a category's labels speak about enter its calibration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluate.judging import JUDGED_ROLES, Thresholds
from classifiers.evaluate.measures import (
    calibration,
    decisions,
    false_intervention_curve,
    ranking,
    share,
    wilson,
)
from classifiers.evaluate.scoring import Found, JudgedRow, aggregate, highest_category
from classifiers.evaluate.truth import excused, truth
from guardrail.core.verdicts import Role

Key = TypeVar("Key", bound=Hashable)
Score = Callable[[JudgedRow], float]

SEVERITIES = (1, 2, 3)
CLEAR = 2


def grouped(rows: Iterable[JudgedRow], key: Callable[[JudgedRow], Key]) -> list[tuple[Key, list[JudgedRow]]]:
    """Rows by key, keys in order of their names."""
    groups: dict[Key, list[JudgedRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return sorted(groups.items(), key=lambda item: str(item[0]))


def wrong(row: JudgedRow, findings: Sequence[Found]) -> list[Found]:
    """The findings that would be false if the row is benign."""
    return [found for found in findings if not excused(row.row, found.category)]


def hit(row: JudgedRow, findings: Sequence[Found]) -> bool:
    """Whether findings flag a row; on a row without harm, those that are right there do not count."""
    return any(found.flags for found in wrong(row, findings))


def performance(rows: Sequence[JudgedRow], categories: Sequence[str]) -> dict[str, Any]:
    """Counts, rankings and decisions of one set of rows.

    `streaming_cost_points` is 100 x (F1 if only the last token is judged - F1 as streamed): what it
    costs to decide before the end; negative where a stream finds more than the whole text shows.
    """
    told = [row for row in rows if row.row.harm is not None]
    harm = [row.row.harm or 0 for row in told]
    last = np.array([row.last for row in told], np.float32).reshape(-1, len(categories))
    highest = np.array([row.highest for row in told], np.float32).reshape(-1, len(categories))
    streamed = decisions([hit(row, row.findings) for row in told], harm)
    at_end = decisions([hit(row, row.findings_at_end) for row in told], harm)
    cost = None if streamed["f1"] is None else 100 * (at_end["f1"] - streamed["f1"])
    return {
        "rows": len(rows),
        "without_verdict": len(rows) - len(told),
        "unscored": sum(not row.tokens for row in rows),
        "tokens": sum(row.tokens for row in rows),
        "rankings": {
            "full_text": ranking(_floats(aggregate(last, categories)), harm),
            "as_streamed": ranking(_floats(aggregate(highest, categories)), harm),
            "full_text_highest_category": ranking(_floats(highest_category(last, categories)), harm),
            "as_streamed_highest_category": ranking(_floats(highest_category(highest, categories)), harm),
        },
        "operating_points": {
            **streamed,
            "full_text_f1": at_end["f1"],
            "full_text_recall": at_end["recall"],
            "full_text_false_finding_share": at_end["false_finding_share"],
            "streaming_cost_points": cost,
        },
    }


def set_curve(
    rows: Sequence[JudgedRow], benign: Sequence[JudgedRow], categories: Sequence[str]
) -> dict[str, Any] | None:
    """Recall against the false-intervention rate of the aggregate score, as streamed.

    Args:
        rows: one set, one role.
        benign: all benign rows of that role, for a set that has none of its own.
        categories: the columns of scores.
    """
    harmful = [row for row in rows if row.row.harm == 1]
    own = [row for row in rows if row.row.harm == 0]
    against = own or benign
    points = false_intervention_curve(_streamed(harmful, categories), _streamed(against, categories))
    if points is None:
        return None
    return {
        "benign_rows": len(against),
        "benign_rows_are": "own" if own else "all of the role",
        "points": points,
        "operating_point": [
            share(sum(hit(row, row.findings) for row in against), len(against)),
            share(sum(hit(row, row.findings) for row in harmful), len(harmful)),
        ],
    }


def benign_scores(rows: Sequence[JudgedRow], role: Role, categories: Sequence[str]) -> list[float]:
    """Aggregate scores, as streamed, of a role's rows without harm."""
    return _streamed([row for row in rows if row.row.harm == 0 and row.row.role is role], categories)


def false_interventions(rows: Sequence[JudgedRow]) -> list[dict[str, Any]]:
    """Rows without harm that have a finding all the same, by role, group and source; sums first.

    A row counts at a severity if a finding of that severity or more is false on it. `answers`: share of
    rows; `tokens`: such rows per 1,000 tokens, every token being a trial for its interval.
    """
    benign = [row for row in rows if row.row.harm == 0]
    table = []
    by_place: tuple[Callable[[JudgedRow], tuple[str, ...]], ...] = (
        lambda row: (row.row.role.value,),
        lambda row: (row.row.role.value, row.row.group),
        lambda row: (row.row.role.value, row.row.group, row.row.source),
    )
    for place in by_place:
        for key, mine in grouped(benign, place):
            named = dict(zip(("role", "group", "source"), key, strict=False))
            table.append({**named, **_false_rates(mine)})
    return table


def _false_rates(rows: Sequence[JudgedRow]) -> dict[str, Any]:
    tokens = sum(row.tokens for row in rows)
    levels = {}
    for severity in SEVERITIES:
        causes: Counter[str] = Counter()
        for row in rows:
            causes.update({f.category for f in wrong(row, row.findings) if f.severity >= severity})
        count = sum(any(f.severity >= severity for f in wrong(row, row.findings)) for row in rows)
        interval = wilson(count, tokens)
        levels[str(severity)] = {
            "rows": count,
            "answers": {"share": share(count, len(rows)), "interval": wilson(count, len(rows))},
            "tokens": {
                "per_1000": 1000 * count / tokens if tokens else None,
                "interval": [1000 * end for end in interval] if interval else None,
            },
            "categories": dict(causes.most_common()),
        }
    return {"rows": len(rows), "tokens": tokens, "severities": levels}


def by_category(
    rows: Sequence[JudgedRow], categories: Sequence[str], thresholds: Thresholds
) -> list[dict[str, Any]]:
    """Each role's categories, over the rows whose labels say whether they have it.

    Rankings are of the category's own score. A category without thresholds is ranked and not judged.
    """
    table = []
    for role in JUDGED_ROLES:
        mine = [row for row in rows if row.row.role is role]
        for column, name in enumerate(categories):
            known = [(row, t) for row in mine if row.tokens and (t := truth(row.row, name)) is not None]
            if not known:
                continue
            target = [present for _, present in known]
            last = [float(row.last[column]) for row, _ in known]
            points = thresholds[role.value].get(name)
            table.append(
                {
                    "role": role.value,
                    "category": name,
                    "known": len(known),
                    "positive": sum(target),
                    "thresholds": {str(severity): score for severity, score in points.items()}
                    if points
                    else None,
                    "full_text": ranking(last, target),
                    "as_streamed": ranking([float(row.highest[column]) for row, _ in known], target),
                    "operating_points": _category_decisions(known, name) if points else None,
                    "calibration": calibration(last, target),
                }
            )
    return table


def _category_decisions(known: Sequence[tuple[JudgedRow, int]], name: str) -> dict[str, Any]:
    """Decisions of one category at severity 2; the share of its rows found under any category, and by source."""

    def clear(row: JudgedRow) -> bool:
        return any(found.category == name and found.severity >= CLEAR for found in row.findings)

    found = decisions([clear(row) for row, _ in known], [present for _, present in known])
    present = [row for row, is_present in known if is_present]
    return {
        **found,
        "recall_any_category": share(sum(row.flagged for row in present), len(present)),
        "recall_by_source": {
            source: {"positive": len(mine), "recall": share(sum(map(clear, mine)), len(mine))}
            for source, mine in grouped(present, lambda row: row.row.source)
        },
    }


def _streamed(rows: Sequence[JudgedRow], categories: Sequence[str]) -> list[float]:
    table = np.array([row.highest for row in rows], np.float32).reshape(-1, len(categories))
    return _floats(aggregate(table, categories))


def _floats(values: NDArray[np.float32]) -> list[float]:
    return [float(value) for value in values]
