"""What does guarding add to the time of a token? 16 streams, 20 ms a token, two cores, default pack, enforce.

Both ways go through the same kind of Envoy; one has our filter. Streams start one after the other over a
third of a second, as users do not start in the same millisecond; the details have them all at once. The
first token of the upstream comes one pace behind the request. A word is scored when it is complete, so a
text waits for the token that begins the next word: of the time added to the first token, one pace is that.
Gaps are those between pieces of text that a reader sees come, whether one token is in them or several.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.answer import Answer, Row, at_most, quantile, rounded
from benchmarks.load.path import both_ends, through_envoy

_STREAMS, _TOKENS, _PACE_S = 16, 150, 0.02
_CORES = 2
_STARTS = {"spread": _PACE_S, "at once": 0.0}
_PATHS: dict[str, tuple[str, ...]] = {
    "unguarded": (),
    "guarded": ("benchmarks.load.sidecar", "--scorer", "default"),
}


async def measure(*, full: bool) -> Answer:
    """Percentiles of first tokens and gaps, guarded less unguarded."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])  # for all that is started from here
    seen: dict[str, dict[str, dict[str, list[float]]]] = {
        start: {name: {"first_s": [], "gaps_s": []} for name in _PATHS} for start in _STARTS
    }
    async with AsyncExitStack() as stack:
        ends = await stack.enter_async_context(both_ends())
        paths = {
            name: await stack.enter_async_context(through_envoy(ends.port, *arguments))
            for name, arguments in _PATHS.items()
        }
        for path in paths.values():
            await ends.load(path.address, tokens=20, streams=4)
        for _ in range(9 if full else 3):
            for start, stagger_s in _STARTS.items():
                for name, path in paths.items():
                    told = await ends.load(
                        path.address, tokens=_TOKENS, streams=_STREAMS, pace_s=_PACE_S, stagger_s=stagger_s
                    )
                    for key in ("first_s", "gaps_s"):
                        seen[start][name][key] += told[key]
    percentiles = {
        start: {name: _percentiles(values) for name, values in by_path.items()}
        for start, by_path in seen.items()
    }
    return Answer(list(_rows(percentiles["spread"])), percentiles)


def _percentiles(seen: dict[str, list[float]]) -> dict[str, float]:
    return {
        f"{key.removesuffix('_s')}_p{share:.0%}".rstrip("%") + "_ms": rounded(quantile(values, share) * 1000)
        for key, values in seen.items()
        for share in (0.5, 0.99)
    }


def _rows(found: dict[str, dict[str, Any]]) -> list[Row]:
    targets = {"first_p50_ms": 30.0, "gaps_p50_ms": 5.0, "gaps_p99_ms": 30.0}
    names = {
        "first_p50_ms": "first token, p50",
        "gaps_p50_ms": "gap between updates, p50",
        "gaps_p99_ms": "gap between updates, p99",
    }
    return [
        at_most(
            f"added latency, 16 streams at 20 ms a token: {names[key]}",
            found["guarded"][key] - found["unguarded"][key],
            bound,
            " ms",
            f"guarded {found['guarded'][key]:g} ms, unguarded {found['unguarded'][key]:g} ms",
        )
        for key, bound in targets.items()
    ]
