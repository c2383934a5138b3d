"""Processes that belong to this one: started, watched, started again, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from guardrail.errors import ConfigError, GuardrailError
from guardrail.transports.engine_remote import Backoff
from guardrail.transports.tasks import spawn

_log = logging.getLogger(__name__)

_READY = b"ready grpc://"
_READY_DEADLINE_S = 120.0
"""A large network takes a while to load and warm up."""
_STEADY_S = 60.0
"""Who lived this long has not died of its start: the next restart comes soon again."""
_RESTARTS = Backoff(first_s=0.2, most_s=30.0)
_MAX_LINE_BYTES = 1024 * 1024
"""Of a child's standard output, which may carry the audit log."""

# Becomes the program it is given, after asking the kernel to end it (SIGKILL, 9) when its parent is gone,
# however that went (PR_SET_PDEATHSIG, 1). A preexec_fn would run between fork and exec of a process full
# of threads, which may deadlock, and makes gRPC complain about the fork.
_DIE_WITH_PARENT = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """``command``, so that it does not outlive this process (on Linux)."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


class Child:
    """A ``guardrail`` process that serves, kept alive until it is stopped.

    Args:
        name: what the log calls it.
        arguments: its command line, after ``guardrail``.
        environ: its environment; flags are all in ``arguments``.
        pass_on: told every line it prints besides its ``ready``: the audit log may go there.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environ: Mapping[str, str], pass_on: Callable[[str], None]
    ) -> None:
        self.name = name
        self._arguments, self._environ, self._pass_on = arguments, environment(environ, name), pass_on
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start it and wait until it serves; from then on it is started again whenever it ends.

        Returns:
            Where it listens.

        Raises:
            ConfigError: it found its configuration wrong.
            GuardrailError: it ended, or was not ready in time.
        """
        address = await self._launch()
        self._keeping = spawn(self._keep(), name=f"keeping {self.name}")
        return address

    def signal(self, number: signal.Signals) -> None:
        """Hand a signal on, if it runs just now."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, deadline_s: float) -> None:
        """Let it drain, and end it the hard way after ``deadline_s`` seconds."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(deadline_s):
                await process.wait()
        except TimeoutError:
            _log.warning("%s did not stop within %g s and is ended", self.name, deadline_s)
            await self._end(process)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        delays = _RESTARTS.delays()
        while True:
            assert self._process is not None
            began = loop.time()
            status = await self._process.wait()
            if loop.time() - began > _STEADY_S:
                delays = _RESTARTS.delays()
            delay_s = next(delays)
            _log.error("%s ended with status %d; it is started again in %.1f s", self.name, status, delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self._launch()
            except GuardrailError as error:
                _log.error("%s", error)
            else:
                _log.warning("%s serves again", self.name)

    async def _launch(self) -> str:
        process = self._process = await asyncio.create_subprocess_exec(
            *dying_with_parent([sys.executable, "-m", "guardrail", *self._arguments]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=self._environ,
            limit=_MAX_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is ours to handle: streams are drained first
        )
        try:
            async with asyncio.timeout(_READY_DEADLINE_S):
                ready = await self._until_ready(process)
        except BaseException as error:
            await self._end(process)
            if isinstance(error, TimeoutError):
                raise GuardrailError(f"{self.name} was not ready after {_READY_DEADLINE_S:.0f} s") from error
            raise
        spawn(self._read(process), name=f"output of {self.name}")
        return ready

    async def _until_ready(self, process: asyncio.subprocess.Process) -> str:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(_READY):
                return line.removeprefix(_READY).decode().strip()
            self._pass_on(line.decode(errors="replace").rstrip("\n"))
        status = await process.wait()
        if status == 2:
            raise ConfigError(self.name, "", "did not start; its reason is above")
        raise GuardrailError(f"{self.name} ended with status {status} before it served")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._pass_on(line.decode(errors="replace").rstrip("\n"))

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def environment(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """What a child's environment is.

    Our own variables are left out: they were read here, and the child gets flags. An instance id for telemetry
    that the operator gave gets the child's name, or the children's metrics would overwrite each other; without
    one the SDK makes one for each process.
    """
    kept = {key: value for key, value in environ.items() if not key.startswith("GUARDRAIL_")}
    attributes = kept.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    instance = "service.instance.id="
    if any(each.strip().startswith(instance) for each in attributes):
        suffix = "-" + name.replace(" ", "-")
        kept["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(
            each + suffix if each.strip().startswith(instance) else each for each in attributes
        )
    return kept
