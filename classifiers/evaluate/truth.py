"""What a row's labels say about a category: there, not there, or unknown.

The semantics are those of training (`classifiers.default.labels.targets`), less what is inferred
there: a category that nobody labelled is *unknown* on a harmful row, not absent, and severity 1 is
neither. Only a row without harm, or an explicit severity 0, says that a category is not there.
"""

from __future__ import annotations

from classifiers.evaluate.rows import LabelledRow
from guardrail.core.verdicts import Role

ANY_HARM = "any_harm"
"""The category that says harmful without saying which kind."""
DISTRESS = "mental_distress"
"""The one category that is no harm: it drives an offer of help and never a block."""


def truth(row: LabelledRow, category: str) -> int | None:
    """1: the text has the category, 0: it has not, None: nobody knows."""
    if category == ANY_HARM:
        return _any_harm(row)
    severity = row.labels.get(category)
    if severity is None:
        return 0 if row.harm == 0 else None
    if severity == 0:
        return 0
    # A user in distress has it, however mildly; other mild rows are on neither side.
    clear = severity >= 2 or (category == DISTRESS and row.role is Role.USER)
    return 1 if clear else None


def _any_harm(row: LabelledRow) -> int | None:
    if row.harm == 1:
        return 1 if max(row.labels.values(), default=2) >= 2 else None
    if row.harm == 0:
        labelled = any(level for name, level in row.labels.items() if name != DISTRESS)
        return None if labelled else 0
    return None


def excused(row: LabelledRow, category: str) -> bool:
    """Whether a finding of `category` on a row without harm is right: distress in a row about distress."""
    return row.harm == 0 and category == DISTRESS and row.labels.get(DISTRESS, 0) > 0
