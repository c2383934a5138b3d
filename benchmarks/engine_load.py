"""Text for lanes of a scorer, cut where a benchmark wants it, and tokens counted as they come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.load import script
from guardrail.core.verdicts import Role
from guardrail.engine.family import PackScorer
from guardrail.engine.scorer import LaneScorer


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast something ran."""

    tokens: int
    wall_s: float
    cpu_s: float
    """Of this process, all threads: other load on the machine hardly moves it."""

    @property
    def per_s(self) -> float:
        """Tokens a second."""
        return self.tokens / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Tokens a second of CPU time."""
        return self.tokens / self.cpu_s


async def timed(run: Callable[[], Awaitable[int]]) -> Speed:
    """Run once; ``run`` says how many tokens it scored."""
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = await run()
    return Speed(tokens, time.perf_counter() - wall, time.process_time() - cpu)


def open_lane(scorer: PackScorer) -> LaneScorer:
    """A conversation at the start of an answer."""
    lane = scorer.open()
    lane.begin_turn(Role.ASSISTANT)
    return lane


async def single_token_words(scorer: PackScorer, count: int) -> list[str]:
    """``count`` words with a space in front, each one token to the classifier: the prose's own, in its order."""
    words = [f" {word.strip('.,;:')}" for word in "".join(script.tokens(1200)).split()]
    known: dict[str, bool] = {}
    lane = open_lane(scorer)
    for word in words:
        if word not in known:
            known[word] = len(await lane.extend(word, tentative=True)) == 1
    lane.close()
    fit = [word for word in words if known[word]]
    return (fit * (count // len(fit) + 1))[:count]


def pieces(words: Sequence[str], size: int) -> list[str]:
    """``words`` joined in pieces of ``size``."""
    return ["".join(words[at : at + size]) for at in range(0, len(words), size)]


async def feed(lane: LaneScorer, texts: Sequence[str]) -> int:
    """Extend a lane piece by piece, the next when the last came back; the tokens scored."""
    tokens = 0
    for text in texts:
        tokens += len(await lane.extend(text))
    return tokens


async def feed_all(lanes: Sequence[LaneScorer], texts: Sequence[str]) -> int:
    """The same for all lanes at once."""
    return sum(await asyncio.gather(*(feed(lane, texts) for lane in lanes)))
