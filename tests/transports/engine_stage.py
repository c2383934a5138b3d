"""An engine and its clients in one process and one event loop, over a real Unix socket."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field

import grpc

from guardrail.engine.identity import Engine, PackIdentity
from guardrail.observer import Record
from guardrail.transports.engine_remote import Backoff, RemoteScorer
from guardrail.transports.engine_service import SERVER_OPTIONS, EngineLimits, EngineServicer

PACK = PackIdentity("toy", "1", "0" * 64)
SOON = Backoff(first_s=0.01, most_s=0.05)


def described(scorer, *packs: PackIdentity) -> Engine:
    return Engine(scorer.name, packs or (PACK,), tuple(scorer.categories), "cpu", "", "0.0.0")


@dataclass
class Ledger:
    """An observer that keeps what it is told."""

    records: list[Record] = field(default_factory=list)

    def record(self, record: Record) -> None:
        self.records.append(record)


@contextlib.asynccontextmanager
async def serving(scorer, address: str, *packs: PackIdentity, limits: EngineLimits | None = None):
    """The service of an engine at ``address``; gone at once at the end, as if it were killed."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    servicer = EngineServicer(scorer, described(scorer, *packs), limits=limits)
    servicer.attach(server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield servicer
    finally:
        await server.stop(None)


def remote(address: str, *, observer=None, packs=(PACK,)) -> RemoteScorer:
    return RemoteScorer(address, packs, observer=observer or Ledger(), clock=time.monotonic, backoff=SOON)


@contextlib.asynccontextmanager
async def attached(address: str, *, observer=None):
    """A client that has reached the engine."""
    scorer = remote(address, observer=observer)
    await scorer.start(10)
    try:
        yield scorer
    finally:
        await scorer.stop()
