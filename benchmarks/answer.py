"""What a benchmark answers: rows of the table in ``README.md``, and everything measured behind them."""

from __future__ import annotations

import asyncio
import importlib
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    target: str
    value: float | None
    """None: it could not be measured, and ``note`` says why."""
    unit: str = ""
    met: bool | None = None
    """None: nothing was measured, or there is no target."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one benchmark."""

    rows: Sequence[Row]
    details: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON wants it."""
        return asdict(self)


def of(name: str, full: bool) -> dict[str, Any]:  # noqa: FBT001 - called by position, from another process
    """Run the benchmark called ``name``; its answer, as JSON wants it."""
    module = importlib.import_module(f"benchmarks.{name}")
    answer: Answer = asyncio.run(module.measure(full=full))
    return answer.plain()


def at_least(what: str, value: float, bound: float, unit: str, note: str = "") -> Row:
    """A row whose target is a lower bound, in the row's unit."""
    return Row(what, f"at least {bound:g}{unit}", rounded(value), unit, met=value >= bound, note=note)


def at_most(what: str, value: float, bound: float, unit: str, note: str = "") -> Row:
    """A row whose target is an upper bound, in the row's unit."""
    return Row(what, f"at most {bound:g}{unit}", rounded(value), unit, met=value <= bound, note=note)


def without_target(what: str, value: float, unit: str, note: str = "") -> Row:
    """A row that is there to be seen."""
    return Row(what, "", rounded(value), unit, note=note)


def unmeasured(what: str, target: str, why: str) -> Row:
    """A row that could not be had here."""
    return Row(what, target, None, note=why)


def rounded(value: float) -> float:
    """Three digits that count: more would be noise."""
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and most of repetitions."""
    return {
        "median": rounded(statistics.median(values)),
        "min": rounded(min(values)),
        "max": rounded(max(values)),
        "repetitions": len(values),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
