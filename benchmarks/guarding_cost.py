"""What does guarding cost a stream? The same scripted streams through Envoy, without and with us.

``plain`` is Envoy without our filter; ``keyword`` is Envoy, ext_proc and the whole sidecar with a scorer
that costs nothing; ``default pack`` scores every token. Client, upstream, sidecar and Envoy share the
machine and client, upstream and sidecar one Python process, so the ratios are pessimistic: what the
client and the upstream cost is in all of them.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from guardrail.app.envoy_config import bootstrap, parse_upstream
from guardrail.app.envoy_process import EnvoyProcess
from guardrail.app.server import start_server
from guardrail.app.wiring import Settings, Sidecar, assemble
from guardrail.testing.scorers import KeywordScorer
from guardrail.testing.upstream import Answer, ScriptedUpstream, chat_stream
from guardrail.transports.services import Services

_STREAMS = 16
_WORDS = 150
_PACE_S = 0.02


async def measure() -> dict[str, object]:
    """Chunks a second unpaced, and the first chunk's and the gaps' delay paced at 20 ms, with ratios."""
    results: dict[str, dict[str, float]] = {}
    for name in ("plain", "keyword", "default pack"):
        async with _path(name) as (url, upstream):
            results[name] = {**await _unpaced(url, upstream), **await _paced(url, upstream)}
    plain = results["plain"]["chunks_per_s"]
    ratios = {name: round(result["chunks_per_s"] / plain, 3) for name, result in results.items()}
    return {"paths": results, "throughput / plain": ratios}


def _texts() -> list[str]:
    return [f" word{number % 7}" for number in range(_WORDS)]


async def _unpaced(url: str, upstream: ScriptedUpstream) -> dict[str, float]:
    upstream.answer = Answer(list(chat_stream(_texts())))
    await asyncio.gather(*(_read(url) for _ in range(4)))  # warm
    began = time.perf_counter()
    await asyncio.gather(*(_read(url) for _ in range(_STREAMS)))
    return {"chunks_per_s": round(_STREAMS * _WORDS / (time.perf_counter() - began))}


async def _paced(url: str, upstream: ScriptedUpstream) -> dict[str, float]:
    pieces = [step for event in chat_stream(_texts()[:60]) for step in (event, _PACE_S)]
    upstream.answer = Answer(pieces)
    runs = await asyncio.gather(*(_read(url) for _ in range(_STREAMS)))
    firsts = [arrivals[0] for arrivals in runs]
    gaps = sorted(b - a for arrivals in runs for a, b in pairwise(arrivals))
    return {
        "first_byte_p50_ms": round(statistics.median(firsts) * 1000, 1),
        "gap_p50_ms": round(statistics.median(gaps) * 1000, 1),
        "gap_p99_ms": round(gaps[int(len(gaps) * 0.99)] * 1000, 1),
    }


async def _read(url: str) -> list[float]:
    """Seconds from the request to each piece of the answer's body."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Say some words."}]}
    began = time.perf_counter()
    async with httpx.AsyncClient(timeout=300) as client, client.stream("POST", url, json=body) as answer:
        return [time.perf_counter() - began async for _ in answer.aiter_raw()]


@asynccontextmanager
async def _path(name: str) -> AsyncIterator[tuple[str, ScriptedUpstream]]:
    sidecar = await asyncio.to_thread(assemble, Settings(threads=1), offline=True)
    if name == "keyword":
        sidecar = _with_keywords(sidecar)
    with tempfile.TemporaryDirectory() as directory:
        socket = f"unix:{directory}/guardrail.sock"
        async with ScriptedUpstream() as upstream:
            server = await start_server(sidecar, socket)
            config = bootstrap(parse_upstream(upstream.url), "127.0.0.1:0", socket, admin=True)
            if name == "plain":
                _filters(config).pop(0)
            envoy = EnvoyProcess(config, Path(directory), concurrency=1)
            try:
                yield f"http://{await envoy.start()}/v1/chat/completions", upstream
            finally:
                await envoy.stop()
                await server.stop(0)
                await asyncio.to_thread(sidecar.close)


def _filters(config: dict[str, Any]) -> list[Any]:
    listener = config["static_resources"]["listeners"][0]
    filters: list[Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    return filters


def _with_keywords(sidecar: Sidecar) -> Sidecar:
    old = sidecar.services
    services = Services(KeywordScorer({}), old.policy, old.composer, old.observer, old.clock)
    return Sidecar(services, sidecar.scorer, sidecar.packs, None)
