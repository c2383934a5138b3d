"""``Cascade``: a cheap scorer that decides, lane by lane, whether a heavier one is asked at all.

In categories that both know, the gate only opens: its low scores stand for "nothing here", its high ones for
"ask". In those that it alone knows (card numbers and the like) it speaks for itself, always. A policy's gates are
members of an ensemble like any other (``Member.gated_by``); this is the ensemble of two in which the gate is modest.
"""

from __future__ import annotations

from guardrail.core.verdicts import Role
from guardrail.engine.ensemble import EnsembleScorer, Member
from guardrail.engine.gate import Gate
from guardrail.engine.scorer import LoadedScorer

__all__ = ["Cascade", "Gate"]


class Cascade(EnsembleScorer):
    """Two scorers as one.

    Args:
        gate: the cheap one; reads every lane.
        heavy: the other one; reads the lanes that the gate opened.
        rule: when that is.
    """

    def __init__(self, gate: LoadedScorer, heavy: LoadedScorer, rule: Gate) -> None:
        self.gate, self.heavy = gate, heavy
        modest = dict.fromkeys(Role, heavy.categories)
        super().__init__([Member(heavy, gated_by=(1, rule)), Member(gate, modest)])

    @property
    def name(self) -> str:
        """Both names, for records."""
        return f"{self.heavy.name}<{self.gate.name}"
