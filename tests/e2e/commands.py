"""``guardrail`` commands as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
POLICY = """\
version: 1
name: out-of-reach
timing: {scoring_deadline_ms: 30000, abandon_ms: 60000}
categories:
  violence:
    assistant: {thresholds: {3: 1.0}, interventions: {3: replace}}
"""


class Guardrail:
    """One ``guardrail`` process."""

    def __init__(self, process: asyncio.subprocess.Process, ready: str) -> None:
        self.process = process
        self.address = ready.partition("://")[2].strip()

    async def envoy(self) -> int:
        """The process id of its Envoy."""
        return self.children("envoy")[0]

    def children(self, what: str) -> list[int]:
        """The process ids of its children of one kind: "envoy", "engine" or "serve"."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in listed if what in _command(int(pid))]


@contextlib.asynccontextmanager
async def running(*arguments: str):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "guardrail", *arguments, "--log-level", "warning"),
        cwd=ROOT,
        env={**os.environ, "OTEL_SDK_DISABLED": "true"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(120):
            ready = (await process.stdout.readline()).decode()
        yield Guardrail(process, ready)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _command(pid: int) -> list[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except FileNotFoundError:
        return []
    return [Path(words[0]).name, *words[3:4]]  # "envoy ...", or "python -m guardrail serve ..."


def gone(pid: int) -> bool:
    """Whether no such process runs any more; one that nobody has asked after yet does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def failing(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "guardrail", *arguments, "--log-level", "warning"),
        cwd=ROOT,
        env={**os.environ, "OTEL_SDK_DISABLED": "true"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        output, complaint = await process.communicate()
    assert output == b""
    return process.returncode, complaint.decode()
