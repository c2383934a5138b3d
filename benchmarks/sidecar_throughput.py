"""What does the sidecar cost beside the least an ext_proc server can do? 64 streams, unpaced, no classifier.

The same Envoy, upstream and clients in front of four things: nothing; an ext_proc server that echoes
(``load/echo.py``); the sidecar with a scorer that says nothing (``silent``); and with one that answers a
harmless token a word (``words``), so that the judge works too. An event is a chunk of the answer, as the
upstream wrote it.

*Unpaced* is measured twice, because an upstream without limits fills the sockets and then few large messages
travel instead of many small ones: as fast as the sockets take it (``flood``), and with at most eight events
of a stream under way (``window``), as with models that write faster than anybody reads.
"""

from __future__ import annotations

import statistics
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.answer import Answer, Row, at_least, rounded, spread, without_target
from benchmarks.load.path import BothEnds, Guarded, both_ends, through_envoy

STREAMS, TOKENS = 64, 400
WINDOWS = {"flood": 0, "window": 8}
_PATHS: dict[str, tuple[str, ...]] = {
    "no filter": (),
    "echo": ("benchmarks.load.echo",),
    "silent": ("benchmarks.load.sidecar", "--scorer", "silent"),
    "words": ("benchmarks.load.sidecar", "--scorer", "words"),
}


async def measure(*, full: bool) -> Answer:
    """Chunks a second against the echo's, and CPU time a chunk by process."""
    measured: dict[str, dict[str, list[dict[str, float]]]] = {window: {} for window in WINDOWS}
    async with AsyncExitStack() as stack:
        ends = await stack.enter_async_context(both_ends())
        paths = {
            name: await stack.enter_async_context(through_envoy(ends.port, *arguments))
            for name, arguments in _PATHS.items()
        }
        for path in paths.values():
            await once(path, ends, window=0, streams=8)  # warm
        for _ in range(9 if full else 5):
            for label, window in WINDOWS.items():
                for name, path in paths.items():
                    measured[label].setdefault(name, []).append(await once(path, ends, window=window))
    rows: list[Row] = []
    for label, by_path in measured.items():
        for scorer in ("silent", "words"):
            ratios = _ratios(by_path[scorer], by_path["echo"], "chunks_per_s")
            cost = statistics.median(run["processor_cpu_us"] for run in by_path[scorer])
            least = statistics.median(run["processor_cpu_us"] for run in by_path["echo"])
            note = f"CPU a chunk {rounded(cost):g} us, echo {rounded(least):g} us"
            what = f"sidecar / echo, chunks a second, {label}, scorer `{scorer}`"
            percent = statistics.median(ratios) * 100
            flood = label == "flood"
            rows.append(
                at_least(what, percent, 60, " %", note)
                if flood
                else without_target(what, percent, " %", note)
            )
    details = {
        label: {
            name: {key: spread([run[key] for run in runs]) for key in runs[0]}
            for name, runs in by_path.items()
        }
        for label, by_path in measured.items()
    }
    return Answer(rows, details)


async def once(path: Guarded, ends: BothEnds, *, window: int, streams: int = STREAMS) -> dict[str, float]:
    """One load through a path.

    Raises:
        RuntimeError: an answer did not come through byte for byte.
    """
    before = path.cpu_s()
    told = await ends.load(path.address, tokens=TOKENS, streams=streams, window=window)
    after = path.cpu_s()
    if told["verbatim"] < 1:
        raise RuntimeError(f"only {told['verbatim']:.0%} of the answers came through as they were sent")
    return figures(told, {name: after[name] - before[name] for name in after})


def figures(told: dict[str, Any], cpu_s: dict[str, float]) -> dict[str, float]:
    """Rates and costs a chunk of one load."""
    events = told["events"]
    costs = {f"{name}_cpu_us": spent / events * 1e6 for name, spent in cpu_s.items()}
    return {"chunks_per_s": events / told["seconds"], "ends_cpu_us": told["cpu_s"] / events * 1e6, **costs}


def _ratios(runs: list[dict[str, float]], against: list[dict[str, float]], key: str) -> list[float]:
    return [a[key] / b[key] for a, b in zip(runs, against, strict=True)]
