"""Labelled rows: read, checked, sampled. Bad input is refused with file, line and key.

One JSON object a line, plain or gzipped, with `id`, `src`, `role`, `text` and `harm` (1, 0, or null
where nobody gave a verdict); where known also `lang`, `labels` (category to severity), `prompt` (the
turn before) or `messages` (all turns before), `group` (which kind of benign row it is) and `onset`
(code point of `text` at which it turns harmful). Other keys are left alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.app import records_io
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.errors import InputError

SAMPLE_SEED = 11
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}
_MOST_SEVERE = 3

BENIGN = "benign"
"""Group of rows without harm, labels and a group of their own."""
SENSITIVE = "sensitive"
"""Group of rows without harm that carry a label all the same, and no group of their own."""


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One turn with what people say about it."""

    where: str
    """File and line, for errors."""
    id: str
    source: str
    """Which set it belongs to."""
    role: Role
    language: str
    text: str
    conversation: Sequence[Turn]
    """The turns before it."""
    labels: Mapping[str, int]
    """Category, or ANY for harm of no category, to severity 0 to 3."""
    harm: int | None
    """1 harmful, 0 not, None: no verdict."""
    group: str
    onset: int | None
    """Code point of the text at which it turns harmful."""


def read(paths: Sequence[Path], limit: int | None = None) -> list[LabelledRow]:
    """The rows of all files, in order.

    Args:
        paths: JSON lines, plain or `.gz`.
        limit: at most so many rows of a source, a seeded sample; None takes all.

    Raises:
        InputError: a file cannot be read, a row is not one, or there is none.
    """
    rows = [row for path in paths for row in _rows(path)]
    return rows if limit is None else _sample(rows, limit)


def _rows(path: Path) -> Iterator[LabelledRow]:
    empty = True
    for where, raw in records_io.read_rows(path):
        empty = False
        yield _checked(where, raw)
    if empty:
        raise InputError(str(path), "holds no rows")


def _sample(rows: Sequence[LabelledRow], limit: int) -> list[LabelledRow]:
    """At most `limit` rows of each source; which ones does not depend on the other sources."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.source, []).append(place)
    kept = {
        place
        for source, mine in places.items()
        for place in random.Random(f"{SAMPLE_SEED} {source}").sample(mine, min(limit, len(mine)))
    }
    return [row for place, row in enumerate(rows) if place in kept]


def _checked(where: str, raw: Mapping[str, Any]) -> LabelledRow:
    row = dict(raw)
    role = _ROLES.get(records_io.text(where, row, "role"))
    if role is None:
        raise InputError(where, f"role must be user or assistant, got {row['role']!r}")
    text = records_io.text(where, row, "text")
    labels = _labels(where, row.get("labels"))
    harm = _harm(where, row)
    group = records_io.text(where, row, "group", "")
    if not group:
        group = SENSITIVE if any(labels.values()) else BENIGN
    return LabelledRow(
        where=where,
        id=str(row["id"]),
        source=_named(where, row, "src"),
        role=role,
        language=records_io.text(where, row, "lang", "und"),
        text=text,
        conversation=_conversation(where, row, role),
        labels=labels,
        harm=harm,
        group=group,
        onset=_onset(where, row.get("onset"), text, harm),
    )


def _named(where: str, row: dict[str, Any], key: str) -> str:
    value = records_io.text(where, row, key)
    if not value:
        raise InputError(where, f"{key} is empty")
    return value


def _harm(where: str, row: Mapping[str, Any]) -> int | None:
    if "harm" not in row:
        raise InputError(where, "harm is missing; null says that there is no verdict")
    harm = row["harm"]
    if harm is None or (type(harm) is int and harm in {0, 1}):
        return harm
    raise InputError(where, f"harm must be 1, 0 or null, got {harm!r}")


def _labels(where: str, value: object) -> Mapping[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(where, "labels must be an object of category to severity")
    for name, severity in value.items():
        if type(severity) is not int or not 0 <= severity <= _MOST_SEVERE:
            raise InputError(where, f"labels.{name} must be a severity from 0 to 3, got {severity!r}")
    return dict(value)


def _conversation(where: str, row: dict[str, Any], role: Role) -> Sequence[Turn]:
    prompt = records_io.text(where, row, "prompt", "")
    if not prompt:
        return records_io.messages(where, row)
    if row.get("messages") is not None:
        raise InputError(where, "prompt and messages are both given: which turns came before?")
    return (Turn(Role.USER if role is Role.ASSISTANT else Role.ASSISTANT, prompt),)


def _onset(where: str, value: object, text: str, harm: int | None) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < len(text):
        raise InputError(where, f"onset must be a code point of text, 0 to {len(text) - 1}, got {value!r}")
    if harm != 1:
        raise InputError(where, "onset is given, but harm is not 1: where does it turn harmful?")
    return value
