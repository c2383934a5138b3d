"""How fast is the classifier on a GPU? Tokens a second, streams in real time, and one step for one stream."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks import engine_load as load
from benchmarks.answer import Answer, Row, at_least, at_most, quantile, rounded, spread, unmeasured
from guardrail.engine.family import PackScorer
from guardrail.engine.loading import load_scorer
from guardrail.engine.scorer import LaneScorer
from guardrail.errors import ProviderError

_RATE, _REALTIME, _STEP = (
    "GPU: classifier tokens a second, 512 saturated streams",
    "GPU: streams at 50 tokens/s with a p99 scoring delay of at most 5 ms",
    "GPU: one step for one stream, p50",
)
_PACE_S, _DELAY_S = 0.02, 0.005


async def measure(*, full: bool) -> Answer:
    """The three figures, or why there is none."""
    try:
        scorer = load_scorer("default", "cuda")
    except ProviderError as error:
        why = f"no CUDA device: {error}".partition(". ")[0]
        return Answer(
            [
                unmeasured(_RATE, "at least 100,000", why),
                unmeasured(_REALTIME, "at least 1,000", why),
                unmeasured(_STEP, "at most 2 ms", why),
            ]
        )
    try:
        words = await load.single_token_words(scorer, 512)
        return Answer(*await _figures(scorer, words, turns=9 if full else 5))
    finally:
        scorer.close()


async def _figures(scorer: PackScorer, words: list[str], turns: int) -> tuple[list[Row], dict[str, Any]]:
    rates = []
    for turn in range(-1, turns):
        lanes = [load.open_lane(scorer) for _ in range(512)]
        speed = await load.timed(lambda lanes=lanes: load.feed_all(lanes, load.pieces(words[:256], 8)))  # type: ignore[misc]
        _close(lanes)
        rates += [speed.per_s] if turn >= 0 else []
    lane = load.open_lane(scorer)
    steps = [await _delay(lane, word) for word in words]
    lane.close()
    kept, delays = 0, {}
    for streams in (125, 250, 500, 1000, 1500, 2000, 3000, 4000):
        delays[streams] = await _p99_delay(scorer, words, streams)
        if delays[streams] > _DELAY_S:
            break
        kept = streams
    rows = [
        at_least(_RATE, quantile(rates, 0.5), 100_000, ""),
        at_least(_REALTIME, kept, 1000, ""),
        at_most(_STEP, quantile(steps[16:], 0.5) * 1000, 2, " ms"),
    ]
    details = {
        "tokens_per_s": spread(rates),
        "p99_delay_ms": {str(streams): rounded(delay * 1000) for streams, delay in delays.items()},
        "step_p99_ms": rounded(quantile(steps[16:], 0.99) * 1000),
    }
    return rows, details


async def _delay(lane: LaneScorer, word: str) -> float:
    began = time.perf_counter()
    await lane.extend(word)
    return time.perf_counter() - began


async def _p99_delay(scorer: PackScorer, words: list[str], streams: int) -> float:
    """With ``streams`` lanes of a token every 20 ms, evenly out of step, for three seconds."""
    lanes = [load.open_lane(scorer) for _ in range(streams)]
    began = time.perf_counter() + 0.1

    async def one(number: int, lane: LaneScorer) -> list[float]:
        found = []
        for step in range(150):
            due = began + (step + number / streams) * _PACE_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await lane.extend(words[step])
            found.append(time.perf_counter() - due)
        return found[25:]

    delays = await asyncio.gather(*(one(number, lane) for number, lane in enumerate(lanes)))
    _close(lanes)
    return quantile([delay for of_one in delays for delay in of_one], 0.99)


def _close(lanes: list[LaneScorer]) -> None:
    for lane in lanes:
        lane.close()
