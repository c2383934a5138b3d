"""How a long-running command is told to stop, and how it says that it serves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

Announce = Callable[[str], None]
"""Told once, when the command serves: one line for scripts to wait for."""


def stop_signal() -> asyncio.Event:
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
