"""What every guarded stream of a process shares, wired by the application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from guardrail.core.composition import Composition, CompositionRequest
from guardrail.engine.scorer import Scorer
from guardrail.errors import InputError
from guardrail.observer import Observer
from guardrail.policy.rules import Policy


class Composer(Protocol):
    """Finds the words of an intervention; at once, from what it has loaded."""

    def compose(self, request: CompositionRequest) -> Composition:
        """The words for one decision."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What every stream of a process shares."""

    scorer: Scorer
    policy: Policy
    composer: Composer
    observer: Observer
    clock: Callable[[], float]
    """Seconds, monotonic."""


def mode_in_force(policy_mode: str, asked: str) -> str:
    """The stricter of the policy's mode and the one a request asks for.

    Raises:
        InputError: the request names no mode we know.
    """
    if asked not in {"", "enforce", "observe"}:
        raise InputError("mode", f"must be enforce or observe, got {asked!r}")
    return "enforce" if "enforce" in {policy_mode, asked} else policy_mode
