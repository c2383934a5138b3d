"""How much of a conversation the scorer is shown, and how text is handed to it when it is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.scorer import LaneScorer
from guardrail.errors import OverloadedError

MAX_CONTEXT_CHARS = 6000
"""Earlier turns shown to the scorer; a default pack sees 512 tokens, so more would be thrown away there."""
_RETRY_S = 0.05  # pause before knocking again at a scorer that said it is full


def recent(turns: Sequence[Turn]) -> Sequence[Turn]:
    """As many of the last turns, whole, as fit into ``MAX_CONTEXT_CHARS``."""
    budget, first = MAX_CONTEXT_CHARS, len(turns)
    while first > 0 and len(turns[first - 1].text) <= budget:
        first -= 1
        budget -= len(turns[first].text)
    return turns[first:]


def split(conversation: Sequence[Turn]) -> tuple[Sequence[Turn], Sequence[Turn]]:
    """What was said up to the last answer, and the turns since, which the stream to come answers."""
    answers = [i for i, turn in enumerate(conversation[:-1]) if turn.role is Role.ASSISTANT]
    fresh = answers[-1] + 1 if answers else 0
    return conversation[:fresh], conversation[fresh:]


async def extend(
    scorer: LaneScorer, text: str, *, patience_s: float, tentative: bool = False, scored: bool = True
) -> Sequence[TokenScore]:
    """Score; knock again at a scorer that is full, for ``patience_s`` seconds.

    Raises:
        OverloadedError: it was still full then.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience_s
    while True:
        try:
            return await scorer.extend(text, tentative=tentative, scored=scored)
        except OverloadedError:
            if loop.time() + _RETRY_S > give_up_at:
                raise
            await asyncio.sleep(_RETRY_S)
