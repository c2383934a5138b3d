"""Several sidecar processes that share one engine process, and look like one sidecar.

One Python process is one event loop; more of them serve more streams. They share a port by SO_REUSEPORT, where
the kernel gives each new connection to one of them, or listen on a Unix socket each, for an Envoy that balances
between these. The classifier runs once, in the engine process, where the words of all their streams meet in
one batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from guardrail.app.children import Child
from guardrail.app.envoy_config import parse_listen
from guardrail.app.signals import Announce
from guardrail.errors import ConfigError

_STOP_MARGIN_S = 15.0
"""Beyond its grace, for a worker to send its telemetry and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """What to run.

    The command lines lack where to listen, and which engine to use.
    """

    workers: int
    worker_arguments: Sequence[str]
    """``serve`` and its flags."""
    engine_arguments: Sequence[str]
    """``engine`` and its flags."""
    engine: str = ""
    """Address of an engine that is there; "" starts one."""
    grace_s: float
    """Seconds that streams under way may take when told to stop."""


def worker_sockets(path: str, workers: int) -> list[str]:
    """A Unix socket for each worker, named after the one that was asked for: ``a.sock`` gives ``a.1.sock``."""
    stem, dot, suffix = path.rpartition(".")
    return [f"{stem}.{n}.{suffix}" if dot and "/" not in suffix else f"{path}.{n}" for n in _numbers(workers)]


@asynccontextmanager
async def running(crew: Crew, listen: str, pass_on: Announce) -> AsyncIterator[list[str]]:
    """Run engine and workers; yields where the workers listen once all of them serve.

    Args:
        crew: what to run.
        listen: "HOST:PORT" for a port they share, or "unix:PATH" for a socket each.
        pass_on: told what the children print besides their ``ready`` lines.

    Raises:
        ConfigError: the port is taken, or a child found its configuration wrong.
        GuardrailError: a child did not start.
    """
    async with contextlib.AsyncExitStack() as stack:
        if listen.startswith("unix:"):
            places = [f"unix:{each}" for each in worker_sockets(listen.removeprefix("unix:"), crew.workers)]
            addresses = places
        else:
            shared = stack.enter_context(_reserved(listen))
            places, addresses = [shared] * crew.workers, [shared]
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="guardrail-"))
        children: list[Child] = []
        stack.push_async_callback(_stop, children, crew.grace_s)
        engine = crew.engine
        if not engine:
            engine = f"unix:{directory}/engine.sock"
            first = Child("engine", [*crew.engine_arguments, "--listen", engine], os.environ, pass_on)
            children.append(first)
            await first.start()
        fresh = [
            Child(
                f"worker {number}",
                [*crew.worker_arguments, "--engine", engine, "--share-port", "--listen", place],
                os.environ,
                pass_on,
            )
            for number, place in zip(_numbers(crew.workers), places, strict=True)
        ]
        children += fresh
        try:
            async with asyncio.TaskGroup() as starting:
                for worker in fresh:
                    starting.create_task(worker.start())
        except ExceptionGroup as errors:  # the others were given up because of the first
            raise errors.exceptions[0] from None
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, _hand_on, fresh, signal.SIGHUP)
        yield addresses


def _numbers(workers: int) -> range:
    return range(1, workers + 1)


def _hand_on(children: Sequence[Child], number: signal.Signals) -> None:
    for child in children:
        child.signal(number)


async def _stop(children: Sequence[Child], grace_s: float) -> None:
    """Workers first: the streams that they let finish still need the engine."""
    workers = [child for child in children if child.name != "engine"]
    await asyncio.gather(*(child.stop(grace_s + _STOP_MARGIN_S) for child in workers))
    for child in children:
        await child.stop(_STOP_MARGIN_S)


@contextlib.contextmanager
def _reserved(listen: str) -> Iterator[str]:
    """``listen``, its port kept from others while workers come and go.

    A bound socket that does not listen gets no connections.
    """
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as held:
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))  # alone: a second sidecar on the same port must fail, not share it
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((host, port))
        except OSError as error:
            raise ConfigError("--listen", "", f"cannot bind {listen}: {error.strerror or error}") from error
        yield f"{listen.rpartition(':')[0]}:{held.getsockname()[1]}"
