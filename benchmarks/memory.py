"""What does a live stream hold, and does the sidecar grow with the streams it has served?

*Live*: guarded streams with the default pack are brought past the classifier's positions and left open, in
this process; its resident memory is read with one of them and with many. *Growth*: a sidecar process behind
Envoy serves thousands of streams; its resident memory after each tenth.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from typing import Any

from benchmarks.answer import Answer, at_most, rounded
from benchmarks.load import script
from benchmarks.load.path import both_ends, rss_bytes, through_envoy
from guardrail.app.wiring import Settings, assemble
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.transports.driver import StreamDriver
from guardrail.transports.outputs import Released, StreamOpening
from guardrail.transports.services import Services

_LIVE, _LIVE_TOKENS = 64, 900
_STREAMS, _TENTHS = 32, 10
_SOAK, _FULL_SOAK = 1_280, 10_240
_MB = 1_000_000


async def measure(*, full: bool) -> Answer:
    """Megabytes a live stream; growth of a sidecar over its streams."""
    one, many = await _live()
    after = await _soak(_FULL_SOAK if full else _SOAK)
    served = (_FULL_SOAK if full else _SOAK) * (_TENTHS - 2) // _TENTHS
    growth = after[-1] - after[1]
    rows = [
        at_most(
            f"memory a live stream beyond the first, {_LIVE} streams",
            (many - one) / (_LIVE - 1) / _MB,
            3,
            " MB",
        ),
        at_most(
            "growth of the sidecar with the streams it has served",
            growth / after[1] * 100,
            2,
            " %",
            f"{growth / _MB:.1f} MB from {after[1] / _MB:.0f} MB over {served:,} streams",
        ),
    ]
    details: dict[str, Any] = {
        "rss_mb": {"one stream": rounded(one / _MB), f"{_LIVE} streams": rounded(many / _MB)},
        "rss_mb_after_each_tenth": [rounded(value / _MB) for value in after],
    }
    return Answer(rows, details)


async def _live() -> tuple[int, int]:
    """Resident bytes with one live stream, and with all of them."""
    sidecar = await asyncio.to_thread(assemble, Settings(provider="cpu"), offline=True)
    text = "".join(script.tokens(_LIVE_TOKENS))
    try:
        warm = await _open(sidecar.services, text)
        await warm.cancel("cancelled")
        first = await _open(sidecar.services, text)
        one = _resident()
        others = [await _open(sidecar.services, text) for _ in range(_LIVE - 1)]
        many = _resident()
        for stream in (first, *others):
            await stream.cancel("cancelled")
    finally:
        await asyncio.to_thread(sidecar.close)
    return one, many


async def _open(services: Services, text: str) -> StreamDriver:
    """A stream of which all but the open word was scored and released."""
    prompt = (Turn(Role.USER, "Tell me about the river."),)
    stream = StreamDriver(StreamOpening("bench", "bench", "text", prompt), services)
    await stream.start()
    await stream.chunk("choice/0", text)
    until = text.rstrip().rindex(" ")
    async for output in stream.outputs():
        if isinstance(output, Released) and output.end >= until:
            return stream
    raise RuntimeError("the stream ended")


def _resident() -> int:
    """This process's resident memory, without what the allocator only keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return rss_bytes(os.getpid())


async def _soak(streams: int) -> list[int]:
    """Resident bytes of a sidecar after each tenth of ``streams``."""
    after = []
    async with (
        both_ends() as ends,
        through_envoy(ends.port, "benchmarks.load.sidecar", "--scorer", "default") as path,
    ):
        assert path.processor is not None
        for _ in range(_TENTHS):
            rounds = streams // _TENTHS // _STREAMS
            await ends.load(path.address, tokens=16, streams=_STREAMS, rounds=rounds, limit_s=600.0)
            after.append(path.processor.rss_bytes())
    return after
