"""Choose the recommended operating points, from what may be disturbed and towards what should be found.

An operator has 499 benign turns for every harmful one, so the shares of benign turns that may be found are
fixed first, per role and severity, for all categories together. The points start where nothing is
found and are lowered step by step, always the one that finds most harmful turns for the part of the
budget it takes, until the budget is spent: greedy maximum coverage under a knapsack constraint
(Khuller, Moss and Naor 1999), exact enough for seventeen categories.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.labels import ANY
from classifiers.default.scoring import Scored

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Calibration = dict[str, dict[str, dict[str, float]]]
Points = dict[str, dict[str, dict[int, float] | None]]

LEVELS = (1, 2, 3)


class Budget(NamedTuple):
    """Shares of benign turns that may be found."""

    ordinary: float
    hard: float


BUDGET = {
    "user": {1: Budget(0.02, 0.1), 2: Budget(0.004, 0.035), 3: Budget(0.001, 0.012)},
    "assistant": {1: Budget(0.015, 0.08), 2: Budget(0.0015, 0.03), 3: Budget(0.0005, 0.01)},
}
HELPING = {
    "self_harm": {1: Budget(0.02, 0.12), 2: Budget(0.006, 0.04), 3: Budget(0.003, 0.02)},
    "mental_distress": {1: Budget(0.03, 1.0), 2: Budget(0.018, 0.4), 3: Budget(0.005, 0.2)},
}
"""User categories whose findings lead to an offer of help, never to a block: shares of their own."""
HELPING_LOWEST = {1: 0.05, 2: 0.08, 3: 0.25}
LOWEST = {1: 0.12, 2: 0.2, 3: 0.35}
"""No point is lower, however clean the benign turns of the development sets are; help is offered sooner."""
UNPROVEN_LOWEST = 0.5
"""The same where no harmful turn of a category was at hand: such a point rests on the benign side alone."""
UNTRAINED = frozenset({("assistant", "injection_jailbreak")})
"""Heads for which the training sets hold no positive at all."""
MARGIN = 0.02
"""Logits by which a point stays above the benign turn, or below the harmful one, that it was set by."""
GUARD = {"user": 0.0, "assistant": 1.0}
"""Logits added to an ordinary turn before it is compared: points that find none of the few hundred at hand find one in
fifty of the next few hundred, as seventeen of them can each slip in between two. Chosen by halving this fold three
times, choosing on one half and counting on the other: of an ordinary answer 1.8, 1.2, 1.3 and 0.7 % were found with 0,
0.25, 0.5 and 1, of harmful ones 53, 51, 50 and 47 %."""
INSERT_GUARD = 0.5
"""The same of our own inserts, of which none may be found: those of the other half are not the same."""
HARD_ROWS_A_SOURCE = 200
STEPS = (1, 2, 4, 8, 16, 32, 64)
CANDIDATES = 80
"""Thresholds that are tried for a category, by quantiles of its harmful turns."""
OWN_INSERTS = frozenset(
    {"generated_support", "generated_insert", "generated_constructive", "generated_own_words"}
)
"""Texts such as the project inserts itself: never a finding, when they stand by themselves."""


@dataclass
class Turns:
    """Judged logits [turns, 17], and which of the turns are found so far.

    A source weighs as the root of its size: a large easy set must not hide a small hard one, nor one turn of a
    tiny set decide everything.
    """

    logits: Floats
    weight: Floats
    """[turns], 1 in all."""
    found: Flags

    @classmethod
    def of(cls, items: Sequence[Scored], guard: float = 0.0) -> Turns:
        """None of `items` is found yet; `guard` is added to their logits."""
        table = np.array([i.judged for i in items], dtype=np.float64).reshape(-1, len(CATEGORIES)) + guard
        sizes = Counter(str(i.case.row["src"]) for i in items)
        weight = np.array([sizes[i.case.row["src"]] ** -0.5 for i in items])
        return cls(table, weight / max(weight.sum(), 1e-12), np.zeros(len(items), dtype=bool))

    @property
    def share_found(self) -> float:
        """Weighted share of the turns that are found."""
        return float(self.weight[self.found].sum())

    def newly(self, column: int, point: float) -> Flags:
        """The turns that a point of a category would find, and that are not found yet."""
        return (self.logits[:, column] >= point) & ~self.found

    def lowest(self, column: int, share: float) -> float:
        """The lowest logit of a category that newly finds at most `share` of the turns."""
        fresh = np.flatnonzero(~self.found)
        order = fresh[np.argsort(-self.logits[fresh, column], kind="stable")]
        over = np.flatnonzero(np.cumsum(self.weight[order]) > share)
        return float(self.logits[order[over[0]], column]) + MARGIN if len(over) else -np.inf


def benign(scored: Iterable[Scored], role: str, *, hard: bool) -> list[Scored]:
    """Turns that must not be found: ordinary ones, or hard ones (constructive, look-alikes, foreign)."""
    out = []
    counts: Counter[str] = Counter()
    for item in scored:
        row = item.case.row
        if row["role"] != role or row["harm"] != 0 or row["labels"]:
            continue
        groups = {"constructive", "lookalike", "foreign", "generated"} if hard else {"ordinary"}
        if row["group"] not in groups:
            continue
        counts[row["src"]] += 1
        if not hard or counts[row["src"]] <= HARD_ROWS_A_SOURCE:
            out.append(item)
    return out


def harmful(scored: Iterable[Scored], role: str) -> list[Scored]:
    """Turns that ought to be found: public and held-back ones, not generated."""
    return [
        item
        for item in scored
        if item.case.role == role
        and item.case.row["harm"] == 1
        and item.case.row["lang"] == "en"
        and item.case.row["group"] not in {"generated", "splice"}
    ]


def logit(score: float) -> float:
    """Inverse of the logistic function."""
    return float(np.log(score / (1 - score)))


def rounded_up(score: float) -> float:
    """To six digits, never down: near 1 the turns that a point must not find lie closer than that."""
    return math.ceil(score * 1e6) / 1e6


class Chooser:
    """Chooses the points of one role."""

    def __init__(self, scored: list[Scored], role: str, heads: dict[str, dict[str, float]]) -> None:
        self.role, self.heads = role, heads
        self.scored = [s for s in scored if s.case.role == role]
        own = [s for s in self.scored if role == "assistant" and s.case.row["src"] in OWN_INSERTS]
        self.inserts = Turns.of(own).logits
        sought = harmful(self.scored, role)
        self.harmful = Turns.of(sought)
        self.counts = np.array(
            [
                [c == ANY or i.case.row["labels"].get(n, 0) > 0 for c, n in enumerate(CATEGORIES)]
                for i in sought
            ],
            dtype=bool,
        ).reshape(-1, len(CATEGORIES))
        """Whether a finding of a category is right on a harmful turn."""

    def score(self, name: str, point: float) -> float:
        """Calibrated score of a logit."""
        line = self.heads[name]
        return float(1 / (1 + np.exp(-(line["scale"] * point + line["offset"]))))

    def bound(self, column: int, level: int, lowest: float) -> float:
        """The lowest logit that is allowed whatever the benign turns say; our own inserts are never found."""
        line = self.heads[CATEGORIES[column]]
        need = (logit(lowest) - line["offset"]) / line["scale"]
        if level > 1 and len(self.inserts):
            need = max(need, float(self.inserts[:, column].max()) + INSERT_GUARD)
        return need

    def tables(self) -> list[Turns]:
        """The turns that must not be found: ordinary ones, with a guard, and hard ones."""
        ordinary, hard = (benign(self.scored, self.role, hard=hard) for hard in (False, True))
        return [Turns.of(ordinary, GUARD[self.role]), Turns.of(hard)]

    def choose(self, level: int) -> dict[str, float]:
        """Category to calibrated threshold at one severity."""
        out: dict[str, float] = {}
        helping = HELPING if self.role == "user" else {}
        for name, budgets in helping.items():
            column = CATEGORIES.index(name)
            tables = self.tables()
            limits = [t.lowest(column, s) for t, s in zip(tables, budgets[level], strict=True)]
            out[name] = self.score(name, max(self.bound(column, level, HELPING_LOWEST[level]), *limits))
        free = [c for c, n in enumerate(CATEGORIES) if n not in out and (self.role, n) not in UNTRAINED]
        for column, point in self.spend(free, level).items():
            out[CATEGORIES[column]] = self.score(CATEGORIES[column], point)
        return out

    def spend(self, columns: Sequence[int], level: int) -> dict[int, float]:
        """Column to logit threshold: the budget of a severity, spent where it finds most."""
        tables = self.tables()
        budget = BUDGET[self.role][level]
        self.harmful.found[:] = False
        candidates = {c: self.candidates(c, level) for c in columns}
        place = dict.fromkeys(columns, -1)
        while True:
            best = self.best_step(candidates, place, tables, budget)
            if best is None:
                break
            column, place[column] = best[0], best[1]
            point = candidates[column][place[column]]
            self.harmful.found |= self.harmful.newly(column, point) & self.counts[:, column]
            for table in tables:
                table.found |= table.newly(column, point)
        out = {c: float(candidates[c][at]) for c, at in place.items() if at >= 0}
        for column in columns:
            if column not in out:
                # Nothing to go by: as low as costs nothing.
                limits = [table.lowest(column, 0.0) for table in tables]
                out[column] = max(self.bound(column, level, UNPROVEN_LOWEST), *limits)
        return out

    def candidates(self, column: int, level: int) -> Floats:
        """Thresholds worth trying for a category, highest first."""
        own = self.harmful.logits[self.counts[:, column], column]
        bound = self.bound(column, level, LOWEST[level])
        if not len(own):
            return np.array([])
        # Just under a harmful turn, so that it is found after rounding, too.
        tried = np.quantile(own, np.linspace(1, 0, CANDIDATES), method="nearest") - MARGIN
        return np.unique(np.maximum(tried, bound))[::-1]

    def best_step(
        self, candidates: dict[int, Floats], place: dict[int, int], tables: Sequence[Turns], budget: Budget
    ) -> tuple[int, int] | None:
        """The column and place of the threshold that finds most for what it costs; None if none is allowed."""
        best: tuple[float, int, int] | None = None
        for column, points in candidates.items():
            for step in STEPS:
                at = place[column] + step
                if at >= len(points):
                    break
                costs = [float(t.weight[t.newly(column, points[at])].sum()) for t in tables]
                if any(t.share_found + c > b for t, c, b in zip(tables, costs, budget, strict=True)):
                    break
                newly = self.harmful.newly(column, points[at]) & self.counts[:, column]
                gain = float(self.harmful.weight[newly].sum())
                worth = gain / (1e-4 + max(c / b for c, b in zip(costs, budget, strict=True)))
                if gain > 0 and (best is None or worth > best[0]):
                    best = (worth, column, at)
        return None if best is None else best[1:]


def choose_points(scored: list[Scored], calibration: Calibration) -> Points:
    """Thresholds per role, category and severity; None where a head was never trained."""
    out: Points = {}
    for role in ROLES:
        chooser = Chooser(scored, role, calibration[role])
        chosen = {level: chooser.choose(level) for level in LEVELS}
        out[role] = dict.fromkeys(CATEGORIES)
        for name in chosen[2]:
            points: dict[int, float] = {}
            for level in LEVELS:
                points[level] = rounded_up(max(chosen[level][name], *points.values(), 0.0))
            out[role][name] = points
    return out
