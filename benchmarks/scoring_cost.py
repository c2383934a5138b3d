"""What does incremental scoring save? The default pack over the same text, four ways, one thread.

* ``bulk``: the whole text in one call, the ceiling.
* ``one stream``: word by word, as a lane scores it.
* ``16 streams``: word by word, all lanes at once.
* ``re-run``: what scorers without a cache do: a window of the last 96 words again every 6 words.

Compare the ratios; ``load_before`` says how busy the machine was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from guardrail.core.verdicts import Role
from guardrail.engine.family import PackScorer
from guardrail.engine.loading import load_scorer
from guardrail.engine.scorer import LaneScorer

_SENTENCE = "The river walks slowly past the old mill and the children count the boats on their way home. "
_WORDS = (_SENTENCE * 12).split(" ")[:200]
_STREAMS = 16
_WINDOW_WORDS, _STRIDE_WORDS = 96, 6


async def measure() -> dict[str, object]:
    """Tokens (or, for re-runs, new tokens) a second, and ratios."""
    scorer = load_scorer("default", "cpu", intra_op_threads=1)
    try:
        speeds = {
            name: await _speed(run, scorer)
            for name, run in (
                ("bulk", _bulk),
                ("one stream", _word_by_word),
                ("16 streams", _many),
                ("re-run", _rerun),
            )
        }
    finally:
        scorer.close()
    return {
        "tokens_per_s": {name: round(speed) for name, speed in speeds.items()},
        "one stream / bulk": round(speeds["one stream"] / speeds["bulk"], 3),
        "16 streams / bulk": round(speeds["16 streams"] / speeds["bulk"], 3),
        "16 streams / re-run": round(speeds["16 streams"] / speeds["re-run"], 1),
    }


async def _speed(run: Callable[[PackScorer], Awaitable[int]], scorer: PackScorer) -> float:
    await run(scorer)  # warm
    began = time.perf_counter()
    tokens = await run(scorer)
    return tokens / (time.perf_counter() - began)


def _lane(scorer: PackScorer) -> LaneScorer:
    lane = scorer.open()
    lane.begin_turn(Role.ASSISTANT)
    return lane


async def _bulk(scorer: PackScorer) -> int:
    lane = _lane(scorer)
    tokens = len(await lane.extend(" ".join(_WORDS)))
    lane.close()
    return tokens


async def _word_by_word(scorer: PackScorer) -> int:
    lane = _lane(scorer)
    tokens = 0
    for word in _WORDS:
        tokens += len(await lane.extend(" " + word))
    lane.close()
    return tokens


async def _many(scorer: PackScorer) -> int:
    return sum(await asyncio.gather(*(_word_by_word(scorer) for _ in range(_STREAMS))))


async def _rerun(scorer: PackScorer) -> int:
    new = 0
    for end in range(_STRIDE_WORDS, len(_WORDS) + 1, _STRIDE_WORDS):
        lane = _lane(scorer)
        tokens = len(await lane.extend(" ".join(_WORDS[max(0, end - _WINDOW_WORDS) : end])))
        lane.close()
        new += tokens * _STRIDE_WORDS // min(end, _WINDOW_WORDS)
    return new
