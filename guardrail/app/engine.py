"""``guardrail engine``: the scoring engine as a process of its own, for many sidecar processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from guardrail import __version__
from guardrail.app.credentials import server_credentials
from guardrail.app.signals import Announce, stop_signal
from guardrail.app.wiring import Settings, gating, load_checked_policy, log_provider, watch
from guardrail.engine.identity import Engine, identities
from guardrail.engine.loading import load_scorers
from guardrail.engine.scorer import LoadedScorer, Scorer
from guardrail.errors import ConfigError
from guardrail.observer import EngineReached
from guardrail.telemetry import telemetry
from guardrail.transports.engine_service import ENGINE, SERVER_OPTIONS, EngineServicer
from guardrail.transports.health import HealthService, enable_reflection

_log = logging.getLogger(__name__)

MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path; the kernel's limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where an engine listens, and who may connect."""

    address: str
    """"HOST:PORT" (port 0 takes a free one) or "unix:PATH"."""
    socket_mode: int = 0o600
    """Permissions of a Unix socket."""
    tls: Path | None = None
    """Directory with certificate, key and the authority of clients; None is plaintext."""


async def engine(settings: Settings, listening: Listening, announce: Announce, *, grace_s: float) -> None:
    """Run the engine until SIGTERM or SIGINT.

    Raises:
        ConfigError: the address is not one, or cannot be bound; or the policy is wrong.
        PackError: the pack cannot be used.
        ProviderError: CUDA was asked for and cannot be had.
    """
    stopped = stop_signal()
    observer = telemetry(os.environ)
    try:
        scorer, described = await asyncio.to_thread(load_engine, settings)
        watch(observer, scorer)
        try:
            async with serving(scorer, described, listening, grace_s=grace_s) as (address, _):
                log_provider(scorer, settings.provider)
                observer.record(EngineReached(scorer.name, scorer.provider))
                announce(f"ready grpc://{address}")
                await stopped.wait()
        finally:
            await asyncio.to_thread(scorer.close)
    finally:
        await asyncio.to_thread(observer.shutdown)


def load_engine(settings: Settings) -> tuple[LoadedScorer, Engine]:
    """What scores, warmed up, and what it is for those who use it; blocks."""
    policy, packs = load_checked_policy(settings.policy, settings.packs)
    scorer = load_scorers(
        packs,
        settings.provider,
        gating=gating(policy),
        intra_op_threads=settings.threads,
        max_wait_s=policy.timing.engine_wait_s,
    )
    described = Engine(
        scorer=scorer.name,
        packs=tuple(identities(packs, gating(policy))),
        categories=tuple(scorer.categories),
        provider=scorer.provider,
        why_not_cuda=scorer.why_not_cuda,
        version=__version__,
    )
    return scorer, described


@asynccontextmanager
async def serving(
    scorer: Scorer, described: Engine, listening: Listening, *, grace_s: float
) -> AsyncIterator[tuple[str, EngineServicer]]:
    """Serve a scorer; the address as bound, and the service with its counts.

    Raises:
        ConfigError: the address is not one, or cannot be bound.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS)
    servicer = EngineServicer(scorer, described)
    servicer.attach(server)
    health = HealthService((ENGINE,))
    await health.attach(server)
    enable_reflection(server, (ENGINE,))
    address = _bind(server, listening)
    await server.start()
    await health.warmed_up()
    try:
        yield address, servicer
    finally:
        await health.drain()
        await server.stop(grace_s)


def _bind(server: grpc.aio.Server, listening: Listening) -> str:
    address = listening.address
    path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
    if path is not None:
        _prepare(path)
    before = os.umask(0o777 & ~listening.socket_mode) if path is not None else None
    try:
        if listening.tls is not None:
            credentials = server_credentials(listening.tls, "--tls")
            port = server.add_secure_port(address, credentials)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError("--listen", "", f"cannot bind {address}: {error}") from error
    finally:
        if before is not None:
            os.umask(before)
    return address if path is not None else f"{address.rpartition(':')[0]}:{port}"


def _prepare(path: Path) -> None:
    """Make room for a Unix socket; gRPC would take the path of a process that is still serving on it."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ConfigError(
            "--listen", "", f"{path}: a Unix socket's path may have {MAX_SOCKET_PATH} bytes at most"
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("--listen", "", f"{path.parent} cannot be made: {error.strerror}") from error
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        raise ConfigError("--listen", "", f"unix:{path} is in use")
