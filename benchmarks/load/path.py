"""Processes of a benchmark: started, ready, measured, stopped. And the path from client to upstream."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.app.envoy_config import bootstrap, parse_upstream
from guardrail.app.envoy_process import EnvoyProcess

_ROOT = Path(__file__).resolve().parents[2]
_READY_S = 180.0
_LINE_BYTES = 64 * 1024 * 1024
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that said it is ready."""

    pid: int
    said: str
    """What it said behind ``ready``."""

    def cpu_s(self) -> float:
        """CPU seconds it has used, in user and kernel mode, all threads."""
        return cpu_s(self.pid)

    def rss_bytes(self) -> int:
        """Its resident memory."""
        return rss_bytes(self.pid)


def cpu_s(pid: int) -> float:
    """CPU seconds process ``pid`` has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Resident memory of process ``pid``."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def running(module: str, *arguments: object, python: str = sys.executable) -> AsyncIterator[Process]:
    """``python -m module arguments``, from its first line ``ready ...`` on, killed at the end.

    Raises:
        RuntimeError: it ended, or did not say that it is ready; with what it said instead.
    """
    async with _started(module, *arguments, python=python) as (_, said):
        yield said


@asynccontextmanager
async def _started(
    module: str, *arguments: object, python: str = sys.executable
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Process]]:
    process = await asyncio.create_subprocess_exec(
        python,
        "-m",
        module,
        *map(str, arguments),
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaints: deque[bytes] = deque(maxlen=20)
    reading = asyncio.create_task(_keep_last(process.stderr, complaints))  # noqa: TID251 - awaited below
    try:
        async with asyncio.timeout(_READY_S):
            line = (await process.stdout.readline()).decode()
        if not line.startswith("ready"):
            await process.wait()
            await reading
            raise RuntimeError(f"{module} did not start: {line}{b''.join(complaints).decode()}")
        yield process, Process(process.pid, line.removeprefix("ready").strip())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def _keep_last(stream: asyncio.StreamReader, lines: deque[bytes]) -> None:
    while line := await stream.readline():
        lines.append(line)


Ask = Callable[[dict[str, object]], Awaitable[dict[str, Any]]]
"""One question as JSON, one answer; a ``RuntimeError`` where the answer is that it failed."""


@asynccontextmanager
async def conversing(module: str, *, python: str = sys.executable) -> AsyncIterator[tuple[Process, Ask]]:
    """A process that answers one line of JSON with another."""
    async with _started(module, python=python) as (process, said):
        writer, reader = process.stdin, process.stdout
        assert writer is not None
        assert reader is not None

        async def ask(question: dict[str, object]) -> dict[str, Any]:
            writer.write(json.dumps(question).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
            told: dict[str, Any] = json.loads(line) if line else {"error": f"{module} ended"}
            if "error" in told:
                raise RuntimeError(told["error"])
            return told

        yield said, ask


@dataclass(frozen=True, slots=True)
class BothEnds:
    """A running ``benchmarks.load.ends``."""

    port: int
    """Where its server listens."""
    ask: Ask

    async def load(self, address: str, **options: object) -> dict[str, Any]:
        """Put a load (``ends.Load``) on ``address``; what came of it.

        Raises:
            RuntimeError: it failed.
        """
        return await self.ask({"address": address, **options})


@asynccontextmanager
async def both_ends() -> AsyncIterator[BothEnds]:
    """The upstream and the clients, in a process of their own."""
    async with conversing("benchmarks.load.ends") as (process, ask):
        yield BothEnds(int(process.said), ask)


@dataclass(frozen=True, slots=True)
class Guarded:
    """An Envoy, what is behind it, and where clients connect."""

    address: str
    envoy: Process
    processor: Process | None
    """The ext_proc server; None for an Envoy without our filter."""

    def cpu_s(self) -> Mapping[str, float]:
        """CPU seconds so far, by process."""
        found = {"envoy": self.envoy.cpu_s()}
        return found if self.processor is None else {**found, "processor": self.processor.cpu_s()}


@asynccontextmanager
async def through_envoy(upstream_port: int, module: str = "", *arguments: object) -> AsyncIterator[Guarded]:
    """An Envoy in front of the upstream, with the ext_proc server ``module``, or with none."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        socket = f"unix:{directory}/processor.sock"
        processor = None
        if module:
            processor = await stack.enter_async_context(running(module, socket, *arguments))
        upstream = parse_upstream(f"http://127.0.0.1:{upstream_port}")
        config = bootstrap(upstream, "127.0.0.1:0", socket, admin=True)
        if not module:
            filters(config).pop(0)
        envoy = EnvoyProcess(config, directory, concurrency=1)
        address = await envoy.start()
        stack.push_async_callback(envoy.stop)
        yield Guarded(address, Process(envoy.pid, address), processor)


def filters(config: dict[str, Any]) -> list[Any]:
    """The HTTP filters of a bootstrap; ours is the first."""
    listener = config["static_resources"]["listeners"][0]
    found: list[Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    return found
