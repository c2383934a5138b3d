"""What does an engine of its own cost a word, and what do several sidecars on it carry?

``words``: the default pack scores word by word, in this process, over a Unix socket and over TCP on loopback,
in turns, one lane and sixteen that write at the same time. The engine's step is the same in all three (one thread), so what differs is the
way there and back. ``processor`` is processor time, which other work on the machine does not falsify: of the
process with the lanes, and of the engine's.

``streams``: guarded streams over gRPC, as fast as they are taken, against ``guardrail serve`` and ``guardrail
serve --workers 2``. Client and server share the machine: on two cores two workers, an engine and the client
compete for them, so the ratio says little about a machine with a core for each.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.answer import Answer
from guardrail.client import GuardClient
from guardrail.core.verdicts import Role
from guardrail.engine.identity import identity
from guardrail.engine.loading import load_scorer
from guardrail.engine.pack import load_pack
from guardrail.engine.scorer import LaneScorer, Scorer
from guardrail.observer import SilentObserver
from guardrail.transports.engine_remote import RemoteScorer

_SENTENCE = "The river walks slowly past the old mill and the children count the boats on their way home. "
_WORDS = [" " + word for word in (_SENTENCE * 12).split()[:150]]
_LANES = 16
_ROUNDS = 3
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


async def measure(*, full: bool) -> Answer:
    """Latencies, words a second, processor time, and ratios."""
    return Answer((), {"words": await _words(), "streams": await _streams()})


async def _words() -> dict[str, object]:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        here = load_scorer("default", "cpu", intra_op_threads=1)
        stack.callback(here.close)
        ways: dict[str, tuple[Scorer, int]] = {"in process": (here, 0)}
        for name, listen in (("unix socket", f"unix:{directory}/engine.sock"), ("tcp", "127.0.0.1:0")):
            arguments = ("engine", "--listen", listen, "--provider", "cpu", "--threads", "1")
            address, pid = await stack.enter_async_context(_running(*arguments))
            packs = [identity(load_pack("default"))]
            remote = RemoteScorer(address, packs, observer=SilentObserver(), clock=time.monotonic)
            await remote.start(60)
            stack.push_async_callback(remote.stop)
            ways[name] = (remote, pid)
        return {
            f"{lanes} lane{'s' if lanes > 1 else ''}": await _compared(ways, lanes) for lanes in (1, _LANES)
        }


@dataclass
class _Taken:
    """What one way took, all words together."""

    waits_s: list[float] = field(default_factory=list)
    walls_s: list[float] = field(default_factory=list)
    here_s: float = 0.0


async def _compared(ways: dict[str, tuple[Scorer, int]], lanes: int) -> dict[str, object]:
    """Each word goes all ways before the next does, so that what else runs here hits all of them."""
    taken = {name: _Taken() for name in ways}
    engines_s = {name: _processor_s(pid) for name, (_, pid) in ways.items()}
    for _ in range(_ROUNDS):
        opened = {name: [scorer.open() for _ in range(lanes)] for name, (scorer, _) in ways.items()}
        for lane in itertools.chain(*opened.values()):
            lane.begin_turn(Role.ASSISTANT)
        for word in _WORDS:
            for name, some in opened.items():
                way, here_s, began = taken[name], time.process_time(), time.perf_counter()
                await asyncio.gather(*(_word(lane, word, way.waits_s) for lane in some))
                way.walls_s.append(time.perf_counter() - began)
                way.here_s += time.process_time() - here_s
        for lane in itertools.chain(*opened.values()):
            lane.close()
    words = _ROUNDS * lanes * len(_WORDS)
    base = taken["in process"]
    answer: dict[str, object] = {}
    for name, way in taken.items():
        added_s = statistics.median(way.waits_s) - statistics.median(base.waits_s)
        wall = statistics.median(way.walls_s) / statistics.median(base.walls_s)
        engine_s = _processor_s(ways[name][1]) - engines_s[name]
        answer[name] = {
            "word_p50_ms": round(statistics.median(way.waits_s) * 1000, 3),
            "added_p50_ms": round(added_s * 1000, 3),
            "time of a step / in process": round(wall, 2),
            "processor_us_per_word": {
                "here": round(way.here_s / words * 1e6),
                "engine": round(engine_s / words * 1e6),
            },
        }
    return answer


async def _word(lane: LaneScorer, word: str, waits_s: list[float]) -> None:
    began = time.perf_counter()
    await lane.extend(word)
    waits_s.append(time.perf_counter() - began)


async def _streams() -> dict[str, object]:
    serve = ("serve", "--listen", "127.0.0.1:0", "--provider", "cpu", "--threads", "1")
    async with _running(*serve) as alone, _running(*serve, "--workers", "2") as workers:
        ways = {"one process": alone, "2 workers, one engine": workers}
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for address, _ in ways.values():
            await _guarded(address)  # warm
        before = {name: _family_s(pid) for name, (_, pid) in ways.items()}
        for _ in range(_ROUNDS):
            for name, (address, _) in ways.items():
                began = time.perf_counter()
                await _guarded(address)
                speeds[name].append(_LANES * len(_WORDS) / (time.perf_counter() - began))
        words = _ROUNDS * _LANES * len(_WORDS)
        processor = {
            name: {
                part: round((spent - before[name][part]) / words * 1e6)
                for part, spent in _family_s(pid).items()
            }
            for name, (_, pid) in ways.items()
        }
    medians = {name: statistics.median(speed) for name, speed in speeds.items()}
    return {
        "words_per_s": {name: round(speed) for name, speed in medians.items()},
        "2 workers / one process": round(medians["2 workers, one engine"] / medians["one process"], 2),
        "processor_us_per_word": processor,
    }


async def _guarded(address: str) -> None:
    await asyncio.gather(*(_stream(address) for _ in range(_LANES)))


async def _stream(address: str) -> None:
    async def model() -> AsyncIterator[str]:
        for word in _WORDS:
            yield word

    async with GuardClient(address, options=_OWN_CONNECTION, open_timeout_s=60) as client:
        async for _ in client.guard_text(model(), [("user", "Tell me about the river.")]):
            pass


@asynccontextmanager
async def _running(*arguments: str) -> AsyncIterator[tuple[str, int]]:
    """A ``guardrail`` process: where it listens, and its id."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "guardrail", *arguments, "--log-level", "error"),
        env={**os.environ, "OTEL_SDK_DISABLED": "true"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready = (await process.stdout.readline()).decode()
        yield ready.partition("://")[2].strip(), process.pid
    finally:
        process.terminate()
        await process.wait()


def _processor_s(pid: int) -> float:
    """User and system time of a process so far; 0 without one."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _family_s(pid: int) -> dict[str, float]:
    """Processor time of a process and its children, by what they are; of workers together."""
    spent = {"sidecar": _processor_s(pid)}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        is_engine = b"\0engine\0" in Path(f"/proc/{child}/cmdline").read_bytes()
        part = "engine" if is_engine else "sidecar"
        spent[part] = spent.get(part, 0.0) + _processor_s(int(child))
    return spent
