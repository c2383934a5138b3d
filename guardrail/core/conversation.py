"""The conversation a stream answers: who said what before."""

from __future__ import annotations

from dataclasses import dataclass

from guardrail.core.verdicts import Role


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Role
    text: str
