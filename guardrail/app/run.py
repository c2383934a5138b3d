"""The long-running commands: ``serve`` (the sidecar) and ``up`` (the sidecar with an Envoy of its own)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from guardrail.app.envoy_config import Upstream, bootstrap
from guardrail.app.envoy_process import EnvoyProcess
from guardrail.app.server import SidecarServer, start_server
from guardrail.app.signals import Announce, stop_signal
from guardrail.app.wiring import Settings, Sidecar, assemble, log_provider
from guardrail.app.workers import Crew, running
from guardrail.errors import GuardrailError
from guardrail.observer import EngineReached
from guardrail.transports.engine_remote import RemoteScorer
from guardrail.transports.tasks import spawn

_log = logging.getLogger(__name__)

ENGINE_PATIENCE_S = 60.0
"""For an engine in another process to answer at the start; it may be loading its network."""


async def serve(
    settings: Settings, listen: str, announce: Announce, *, grace_s: float, share_port: bool = False
) -> None:
    """Run the sidecar until SIGTERM or SIGINT.

    Args:
        settings: what the operator said.
        listen: "HOST:PORT" or "unix:PATH".
        announce: told when it serves.
        grace_s: seconds that streams under way may take when told to stop.
        share_port: let other processes listen on the same port.
    """
    stopped = stop_signal()
    async with _sidecar_server(settings, listen, grace_s, share_port=share_port) as server:
        announce(f"ready grpc://{server.address}")
        await stopped.wait()


async def serve_workers(crew: Crew, listen: str, announce: Announce) -> None:
    """Run several sidecars and their engine until SIGTERM or SIGINT.

    Raises:
        GuardrailError: one of them did not start.
    """
    stopped = stop_signal()
    async with running(crew, listen, announce) as addresses:
        announce(f"ready grpc://{','.join(addresses)}")
        await stopped.wait()


async def up(
    settings: Settings,
    upstream: Upstream,
    listen: str,
    announce: Announce,
    *,
    grace_s: float,
    concurrency: int,
    crew: Crew | None = None,
) -> None:
    """Run sidecar and Envoy in front of an upstream until SIGTERM or SIGINT.

    Args:
        settings: what the operator said.
        upstream: the LLM server.
        listen: "HOST:PORT" clients connect to.
        announce: told when it serves.
        grace_s: seconds that streams under way may take when told to stop.
        concurrency: Envoy's worker threads.
        crew: several sidecar processes in place of one in this process.

    Raises:
        GuardrailError: Envoy ended by itself, or a worker did not start.
    """
    stopped = stop_signal()
    directory = Path(tempfile.mkdtemp(prefix="guardrail-"))
    try:
        socket = f"unix:{directory / 'guardrail.sock'}"
        async with contextlib.AsyncExitStack() as stack:
            if crew is not None:
                sidecars = await stack.enter_async_context(running(crew, socket, announce))
            else:
                await stack.enter_async_context(_sidecar_server(settings, socket, grace_s))
                sidecars = [socket]
            config = bootstrap(upstream, listen, ",".join(sidecars), admin=True)
            envoy = EnvoyProcess(config, directory, concurrency=concurrency)
            try:
                announce(f"ready http://{await envoy.start()}")
                await _until_first(stopped, envoy)
                await envoy.drain(grace_s)
            finally:
                await envoy.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _until_first(stopped: asyncio.Event, envoy: EnvoyProcess) -> None:
    """Until we are told to stop; an Envoy that ends before that is an error."""
    signalled = spawn(stopped.wait(), name="stop signal")
    exited = spawn(envoy.wait(), name="envoy")
    await asyncio.wait({signalled, exited}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if not stopped.is_set():
        raise GuardrailError(f"Envoy ended by itself with status {exited.result()}")


@asynccontextmanager
async def _sidecar_server(
    settings: Settings, listen: str, grace_s: float, *, share_port: bool = False
) -> AsyncIterator[SidecarServer]:
    sidecar: Sidecar = await asyncio.to_thread(assemble, settings)
    try:
        async with _engine_reached(sidecar, settings):
            server = await start_server(sidecar, listen, share_port=share_port)
            _reopen_on_hangup(sidecar)
            try:
                yield server
            finally:
                await server.stop(grace_s)
    finally:
        await asyncio.to_thread(sidecar.close)


@asynccontextmanager
async def _engine_reached(sidecar: Sidecar, settings: Settings) -> AsyncIterator[None]:
    scorer = sidecar.scorer
    if not isinstance(scorer, RemoteScorer):
        sidecar.services.observer.record(EngineReached(scorer.name, scorer.provider))
        log_provider(scorer, settings.provider)
        yield
        return
    await scorer.start(ENGINE_PATIENCE_S)
    _log.info("pack %s runs on %s, on the engine at %s", scorer.name, scorer.provider, scorer.address)
    try:
        yield
    finally:
        await scorer.stop()


def _reopen_on_hangup(sidecar: Sidecar) -> None:
    """SIGHUP: the audit log was rotated, go on in a new file."""
    if sidecar.telemetry is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, sidecar.telemetry.reopen)
