"""The report as data: everything `report.json` holds, and `report.html` shows.

Row texts never enter it; ids do not either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from classifiers.evaluate import sections
from classifiers.evaluate.judging import JUDGED_ROLES, Judging
from classifiers.evaluate.onsets import delay_report
from classifiers.evaluate.scoring import JudgedRow

FORMAT = 1
"""Of `report.json`; counts up when a key changes its meaning."""


def build(judging: Judging, rows: Sequence[JudgedRow], run: dict[str, Any]) -> dict[str, Any]:
    """Measure judged rows.

    Args:
        judging: what they were judged with.
        rows: all of them.
        run: how it was run: command line, pack, versions; told as it is.
    """
    categories = judging.categories
    thresholds = judging.thresholds()
    by_category = sections.by_category(rows, categories, thresholds)
    return {
        "format": FORMAT,
        "run": {**run, "counts": _counts(rows), "timing": _timing(judging, rows)},
        "judging": {
            "policy": judging.services.policy.name,
            "categories": list(categories),
            "thresholds": thresholds,
            "never_judged": [
                c for c in categories if not any(c in by_role for by_role in thresholds.values())
            ],
        },
        "overall": _overall(rows, categories),
        "sets": _sets(rows, categories),
        "languages": [
            {"language": language, "role": role, **sections.performance(mine, categories)}
            for (language, role), mine in sections.grouped(
                rows, lambda row: (row.row.language, row.row.role.value)
            )
        ],
        "categories": by_category,
        "false_interventions": sections.false_interventions(rows),
        "onsets": _onsets(rows, categories),
    }


def row_lines(rows: Sequence[JudgedRow], judging: Judging) -> list[dict[str, Any]]:
    """A line for each row, without its text: to find the rows behind a number."""
    return [
        {
            "id": row.row.id,
            "src": row.row.source,
            "role": row.row.role.value,
            "harm": row.row.harm,
            "flagged": row.flagged,
            "findings": [
                {"category": found.category, "severity": found.severity, "token": found.token}
                for found in row.findings
            ],
            "tokens": row.tokens,
            "max": {
                name: round(float(score), 6)
                for name, score in zip(judging.categories, row.highest, strict=True)
            },
        }
        for row in rows
    ]


def _counts(rows: Sequence[JudgedRow]) -> dict[str, int]:
    return {
        "rows": len(rows),
        "harmful": sum(row.row.harm == 1 for row in rows),
        "harmless": sum(row.row.harm == 0 for row in rows),
        "without_verdict": sum(row.row.harm is None for row in rows),
        "with_onset": sum(row.row.onset is not None for row in rows),
        "tokens": sum(row.tokens for row in rows),
    }


def _timing(judging: Judging, rows: Sequence[JudgedRow]) -> dict[str, float | int | None]:
    timing = judging.timing
    speed = timing.tokens / timing.seconds if timing.seconds else None
    return {
        "scored_tokens": timing.tokens,
        "seconds": timing.seconds,
        "tokens_per_second": speed,
        "rows_per_second": len(rows) / timing.seconds if timing.seconds else None,
    }


def _overall(rows: Sequence[JudgedRow], categories: Sequence[str]) -> dict[str, Any]:
    parts = {role.value: [row for row in rows if row.row.role is role] for role in JUDGED_ROLES}
    parts["all"] = list(rows)
    return {
        name: {
            **sections.performance(mine, categories),
            "curve": sections.set_curve(mine, (), categories),
        }
        for name, mine in parts.items()
        if mine
    }


def _sets(rows: Sequence[JudgedRow], categories: Sequence[str]) -> list[dict[str, Any]]:
    table = []
    for (source, role), mine in sections.grouped(rows, lambda row: (row.row.source, row.row.role)):
        benign = [row for row in rows if row.row.harm == 0 and row.row.role is role]
        table.append(
            {
                "source": source,
                "role": role.value,
                **sections.performance(mine, categories),
                "curve": sections.set_curve(mine, benign, categories),
            }
        )
    return table


def _onsets(rows: Sequence[JudgedRow], categories: Sequence[str]) -> list[dict[str, Any]]:
    """Each role's rows of known onset, all together and by source."""
    table = []
    for role in JUDGED_ROLES:
        mine = [row for row in rows if row.row.role is role and row.trace is not None]
        benign = sections.benign_scores(rows, role, categories)
        parts = [("all", mine), *sections.grouped(mine, lambda row: row.row.source)]
        for source, some in parts:
            measured = delay_report(some, benign)
            if measured is not None:
                table.append({"role": role.value, "source": source, **measured})
    return table
