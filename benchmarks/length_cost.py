"""What does a token cost late in a long stream, against early in it? One thread; one stream and eight.

A stream is fed word by word from its start to 4,096 tokens, through every re-anchoring on the way. Cost is
CPU time a token between one length and the next, so the re-feeding of a lane that outgrew its positions
counts where it happens.
"""

from __future__ import annotations

import statistics
from itertools import pairwise

from benchmarks import engine_load as load
from benchmarks.answer import Answer, at_most, rounded
from guardrail.engine.family import PackScorer
from guardrail.engine.loading import load_scorer

_LENGTHS = (0, 64, 128, 256, 512, 1024, 2048, 4096)
_FROM = 128
"""The length to which others are compared: the cost from the length before it to it."""


async def measure(*, full: bool) -> Answer:
    """The highest cost a token at any length over that at 128."""
    scorer = load_scorer("default", "cpu", intra_op_threads=1)
    try:
        words = await load.single_token_words(scorer, _LENGTHS[-1])
        costs = {
            1: [await _costs(scorer, words, 1) for _ in range(5 if full else 3)],
            8: [await _costs(scorer, words, 8) for _ in range(3 if full else 1)],
        }
    finally:
        scorer.close()
    rows, details = [], {}
    for streams, runs in costs.items():
        us = {length: statistics.median(run[length] for run in runs) for length in runs[0]}
        growth = [us[length] / us[_FROM] - 1 for length in us if length > _FROM]
        label = "one stream" if streams == 1 else f"{streams} streams"
        what = f"cost a token from 128 to 4,096 tokens, {label}: the dearest stretch over the first"
        rows.append(at_most(what, max(*growth, 0.0) * 100, 10, " %"))
        details[label] = {"cpu_us_per_token": {str(length): rounded(cost) for length, cost in us.items()}}
    return Answer(rows, details)


async def _costs(scorer: PackScorer, words: list[str], streams: int) -> dict[int, float]:
    """CPU microseconds a token up to each length from the one before it."""
    lanes = [load.open_lane(scorer) for _ in range(streams)]
    costs = {}
    for start, end in pairwise(_LENGTHS):
        speed = await load.timed(lambda a=start, b=end: load.feed_all(lanes, words[a:b]))  # type: ignore[misc]
        costs[end] = speed.cpu_s / speed.tokens * 1e6
    for lane in lanes:
        lane.close()
    del costs[_LENGTHS[1]]  # the start of the stream warms up
    return costs
