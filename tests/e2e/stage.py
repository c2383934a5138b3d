"""A whole guarded path on one event loop: scripted upstream, sidecar, real Envoy.

The scorer knows a few words, so what is done about an answer is the test's choice, not a model's.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from guardrail import observer as records
from guardrail.app.envoy_config import bootstrap, parse_upstream
from guardrail.app.envoy_process import EnvoyProcess
from guardrail.app.server import start_server
from guardrail.app.wiring import Sidecar
from guardrail.engine.scorer import Scorer
from guardrail.policy.rules import CategoryRules, HoldBackRules, Policy, RoleRules, Timing
from guardrail.testing.composers import PlainComposer
from guardrail.testing.scorers import KeywordScorer
from guardrail.testing.upstream import ScriptedUpstream
from guardrail.transports.services import Services

WORDS = {
    "sad": {"mental_distress": 0.9},  # redirects, whoever says it
    "stab": {"violence": 0.95},  # ends the answer
    "murky": {"violence": 0.6},  # watched, never acted on
    "odd": {"sexual": 0.9},  # noted, no more
}
REDIRECT = "[redirect mental_distress]"
REPLACE = "[replace violence]"
FAILED = "[replace failure]"


def rules(severity: int, kind: str) -> RoleRules:
    return RoleRules(thresholds={severity: 0.7}, interventions={severity: kind}, debounce_tokens=1)


def policy(**changes) -> Policy:
    values = {
        "version": 1,
        "name": "stage",
        "categories": {
            "mental_distress": CategoryRules(user=rules(1, "redirect"), assistant=rules(1, "redirect")),
            "violence": CategoryRules(user=rules(3, "replace"), assistant=rules(3, "replace")),
            "sexual": CategoryRules(user=rules(1, "annotate"), assistant=rules(1, "annotate")),
        },
        "hold_back": HoldBackRules(settle_tokens=1),
        # Loaded machines: only what a test makes late may be late.
        "timing": Timing(scoring_deadline_ms=30_000, abandon_ms=60_000),
        **changes,
    }
    return Policy(**values)


class Ledger:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[records.Record] = []

    def record(self, record: records.Record) -> None:
        self.records.append(record)

    def all(self, kind: type) -> list:
        return [record for record in self.records if isinstance(record, kind)]

    def unscanned(self) -> dict[str, int]:
        counted: dict[str, int] = {}
        for record in self.all(records.TextUnscanned):
            counted[record.what] = counted.get(record.what, 0) + record.chars
        return counted


@dataclass
class Stage:
    """The parts a test looks at."""

    address: str
    upstream: ScriptedUpstream
    scorer: KeywordScorer
    ledger: Ledger
    envoy: EnvoyProcess

    def reset(self) -> None:
        self.upstream.answer = None
        self.upstream.exchanges.clear()
        self.scorer.fail = self.scorer.delay_s = None
        self.ledger.records.clear()

    async def ended(self, count: int = 1) -> records.StreamEnded:
        """The account of the ``count``-th guarded stream that ended."""
        await eventually(lambda: len(self.ledger.all(records.StreamEnded)) >= count)
        return self.ledger.all(records.StreamEnded)[count - 1]


async def eventually(condition, timeout_s: float = 30.0) -> None:
    """Wait until ``condition`` holds; generous, because machines are busy."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def staged(under: Policy, engine: Scorer | None = None) -> AsyncIterator[Stage]:
    """Everything up and running under a policy, with a scorer of its own or the ``engine`` given."""
    directory = Path(tempfile.mkdtemp(prefix="stage-"))  # short: a unix socket's path may have 107 bytes
    scorer, ledger = KeywordScorer(WORDS), Ledger()
    services = Services(engine or scorer, under, PlainComposer(), ledger, time.monotonic)
    socket = f"unix:{directory / 'sidecar.sock'}"
    server = await start_server(Sidecar(services, None, None, None), socket)
    try:
        async with ScriptedUpstream() as upstream:
            config = bootstrap(parse_upstream(upstream.url), "127.0.0.1:0", socket, admin=True)
            envoy = EnvoyProcess(config, directory, concurrency=1)
            try:
                yield Stage(await envoy.start(), upstream, scorer, ledger, envoy)
            finally:
                await envoy.stop()
    finally:
        await server.stop(0)
        shutil.rmtree(directory, ignore_errors=True)
