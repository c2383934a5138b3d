"""The sidecar as ``guardrail serve`` runs it, with a scorer of the benchmark's choice.

``silent`` says nothing of any text; ``words`` answers a token a word, all of them harmless, so that the
judge works as it does for a real pack; ``default`` is the default pack. Telemetry is that of ``serve``.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace

from guardrail.app.server import start_server
from guardrail.app.wiring import Settings, Sidecar, assemble
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.scorer import LaneScorer, Scorer
from guardrail.testing.scorers import KeywordScorer


class SilentScorer:
    """A scorer that costs nothing and finds nothing."""

    name = "silent/1"
    categories: Sequence[str] = ()

    def open(self) -> LaneScorer:
        """A conversation like any other: nothing of it is remembered."""
        return _SilentLane()


class _SilentLane:
    def begin_turn(self, role: Role) -> None:
        pass

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        return ()

    def fork(self) -> LaneScorer:
        return self

    def close(self) -> None:
        pass


def scored_by(sidecar: Sidecar, scorer: Scorer) -> Sidecar:
    """The same sidecar with another scorer."""
    return replace(sidecar, services=replace(sidecar.services, scorer=scorer))


async def serve(address: str, scorer: str, threads: int) -> None:
    """Until killed."""
    sidecar = await asyncio.to_thread(assemble, Settings(provider="cpu", threads=threads))
    if scorer != "default":
        sidecar = scored_by(sidecar, SilentScorer() if scorer == "silent" else KeywordScorer({}))
    server = await start_server(sidecar, address)
    print(f"ready {address}", flush=True)
    await server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--scorer", choices=("silent", "words", "default"), default="default")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.address, arguments.scorer, arguments.threads))
