"""What does incremental scoring save, and how near is it to the fastest this model can be? The default pack.

* ``bulk``: a long text in one call on an empty lane, the ceiling.
* ``32 saturated``: 32 lanes, each with eight new tokens whenever its last ones came back.
* ``32 stepwise``: 32 lanes, one new token a lane and step.
* ``one stream``: one lane, token by token.
* ``32 re-run``: what scorers without a cache do, for 32 lanes at once: a window of the last 128 tokens again
  for every eight new ones; only the new ones count.

All incremental lanes go from 128 to 384 tokens. The five take turns, several times; ratios are taken within
a turn, so that what the machine does meanwhile hits both sides, and their median is the answer.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import engine_load as load
from benchmarks.answer import Answer, Row, at_least, rounded, spread
from guardrail.engine.family import PackScorer
from guardrail.engine.loading import load_scorer

_STREAMS = 32
_BEHIND, _NEW = 128, 256
_WINDOW, _STRIDE = 128, 8
_BULK = 480  # fits the positions: no re-anchoring in the ceiling
_SECONDS = 1.0
"""How long a measurement lasts at least."""
_RATIOS = {
    "32 saturated / 32 re-run": ("32 saturated", "32 re-run", 12.0),
    "32 saturated / bulk": ("32 saturated", "bulk", 85.0),
    "32 stepwise / bulk": ("32 stepwise", "bulk", 50.0),
    "one stream / bulk": ("one stream", "bulk", 25.0),
}


class _Runs:
    """The five ways, over one scorer; each answers the tokens that count."""

    def __init__(self, scorer: PackScorer, words: list[str]) -> None:
        self._scorer = scorer
        self._words = words
        self.ways: dict[str, Callable[[], Awaitable[int]]] = {}

    async def prepare(self) -> None:
        """Bring the lanes to the depth at which they are measured; every run is made on forks of them."""
        self._behind = load.open_lane(self._scorer)
        await load.feed(self._behind, load.pieces(self._words[:_BEHIND], _BEHIND))
        new = self._words[_BEHIND : _BEHIND + _NEW]
        self.ways = {
            "bulk": self._bulk,
            "32 saturated": lambda: self._lanes(_STREAMS, load.pieces(new, 8)),
            "32 stepwise": lambda: self._lanes(_STREAMS, new[:64]),
            "one stream": lambda: self._lanes(1, new),
            "32 re-run": self._rerun,
        }

    async def _bulk(self) -> int:
        lane = load.open_lane(self._scorer)
        tokens = await load.feed(lane, ["".join(self._words[:_BULK])])
        lane.close()
        return tokens

    async def _lanes(self, count: int, texts: list[str]) -> int:
        lanes = [self._behind.fork() for _ in range(count)]
        tokens = await load.feed_all(lanes, texts)
        for lane in lanes:
            lane.close()
        return tokens

    async def _rerun(self) -> int:
        async def one() -> None:
            lane = load.open_lane(self._scorer)
            await lane.extend("".join(self._words[:_WINDOW]))
            lane.close()

        await asyncio.gather(*(one() for _ in range(_STREAMS)))
        return _STREAMS * _STRIDE


async def measure(*, full: bool) -> Answer:
    """Ratios with one thread; with all cores in the details."""
    rows: list[Row] = []
    details: dict[str, Any] = {}
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        speeds = await _speeds(threads, turns=9 if full else 5)
        label = f"{threads} thread" if threads == 1 else f"{threads} threads"
        details[label] = {
            "tokens_per_s": {way: spread([turn.per_s for turn in turns]) for way, turns in speeds.items()},
            "tokens_per_cpu_s": {
                way: spread([turn.per_cpu_s for turn in turns]) for way, turns in speeds.items()
            },
        }
        for name, (way, against, bound) in _RATIOS.items():
            ratios = [a.per_s / b.per_s for a, b in zip(speeds[way], speeds[against], strict=True)]
            by_cpu = [a.per_cpu_s / b.per_cpu_s for a, b in zip(speeds[way], speeds[against], strict=True)]
            details[label][name] = {"wall": spread(ratios), "cpu": spread(by_cpu)}
            percent = against == "bulk"
            scale, unit = (100, " %") if percent else (1, " times")
            note = f"by CPU time {rounded(statistics.median(by_cpu) * scale):g}{unit}"
            what = f"scoring, {label}: {name}"
            rows.append(at_least(what, statistics.median(ratios) * scale, bound, unit, note))
    return Answer(rows, details)


async def _speeds(threads: int, turns: int) -> dict[str, list[load.Speed]]:
    scorer = load_scorer("default", "cpu", intra_op_threads=threads)
    try:
        runs = _Runs(scorer, await load.single_token_words(scorer, 512))
        await runs.prepare()
        speeds: dict[str, list[load.Speed]] = {way: [] for way in runs.ways}
        for turn in range(-1, turns):  # the first warms up
            for way, run in runs.ways.items():
                speed = await load.timed(lambda run=run: _long_enough(run))  # type: ignore[misc]
                if turn >= 0:
                    speeds[way].append(speed)
        return speeds
    finally:
        scorer.close()


async def _long_enough(run: Callable[[], Awaitable[int]]) -> int:
    """Repeat until the clock has something to measure; the tokens of all repetitions."""
    until = asyncio.get_running_loop().time() + _SECONDS
    tokens = await run()
    while asyncio.get_running_loop().time() < until:
        tokens += await run()
    return tokens
