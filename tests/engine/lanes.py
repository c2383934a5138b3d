"""What the tests of both families do with a lane."""

from __future__ import annotations

import asyncio


async def entered(network):
    assert await asyncio.to_thread(network.entered.acquire, timeout=10)


async def score(scorer, *turns):
    """Scores of the last of several (role, pieces) turns."""
    lane = scorer.open()
    scores = []
    for role, pieces in turns:
        lane.begin_turn(role)
        scores = []
        for piece in pieces:
            scores += await lane.extend(piece)
    lane.close()
    return scores
