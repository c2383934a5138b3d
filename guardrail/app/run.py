"""The long-running commands: ``serve`` (the sidecar) and ``up`` (the sidecar with an Envoy of its own)."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from guardrail.app.envoy_config import Upstream, bootstrap
from guardrail.app.envoy_process import EnvoyProcess
from guardrail.app.server import SidecarServer, start_server
from guardrail.app.wiring import Settings, Sidecar, assemble
from guardrail.errors import GuardrailError
from guardrail.transports.tasks import spawn

_log = logging.getLogger(__name__)

Announce = Callable[[str], None]
"""Told once, when the command serves: one line for scripts to wait for."""


async def serve(settings: Settings, listen: str, announce: Announce, *, grace_s: float) -> None:
    """Run the sidecar until SIGTERM or SIGINT."""
    stopped = _stop_signal()
    async with _sidecar_server(settings, listen, grace_s) as server:
        announce(f"ready grpc://{server.address}")
        await stopped.wait()


async def up(
    settings: Settings,
    upstream: Upstream,
    listen: str,
    announce: Announce,
    *,
    grace_s: float,
    concurrency: int,
) -> None:
    """Run sidecar and Envoy in front of an upstream until SIGTERM or SIGINT.

    Raises:
        GuardrailError: Envoy ended by itself.
    """
    stopped = _stop_signal()
    directory = Path(tempfile.mkdtemp(prefix="guardrail-"))
    try:
        socket = f"unix:{directory / 'guardrail.sock'}"
        async with _sidecar_server(settings, socket, grace_s):
            config = bootstrap(upstream, listen, socket, admin=True)
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
async def _sidecar_server(settings: Settings, listen: str, grace_s: float) -> AsyncIterator[SidecarServer]:
    sidecar: Sidecar = await asyncio.to_thread(assemble, settings)
    try:
        server = await start_server(sidecar, listen)
        scorer = sidecar.scorer
        why = f": {scorer.why_not_cuda}" if settings.provider == "auto" and scorer.why_not_cuda else ""
        _log.info("pack %s runs on %s, asked for %s%s", scorer.name, scorer.provider, settings.provider, why)
        _reopen_on_hangup(sidecar)
        try:
            yield server
        finally:
            await server.stop(grace_s)
    finally:
        await asyncio.to_thread(sidecar.close)


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; a second one ends the process the hard way."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopped


def _reopen_on_hangup(sidecar: Sidecar) -> None:
    """SIGHUP: the audit log was rotated, go on in a new file."""
    if sidecar.telemetry is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, sidecar.telemetry.reopen)
