"""How does the sidecar compare with what people use today? The same load, guardrails that do nothing.

* The sidecar with a scorer that says nothing, behind Envoy.
* A LiteLLM proxy with a guardrail whose streaming hook passes every chunk on; the same upstream and clients.
* NeMo Guardrails' ``stream_async`` with an output rail that allows everything, in its own process and
  without any server, client or JSON: what it counts are the tokens a Python loop hands it.

The peers live in an environment of their own (``make bench-peers`` makes ``.venv-bench``); without it their
rows say so.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.answer import Answer, Row, at_least, spread, unmeasured
from benchmarks.load.path import Ask, BothEnds, Process, both_ends, conversing, cpu_s, through_envoy
from benchmarks.sidecar_throughput import STREAMS, TOKENS, figures

_ROOT = Path(__file__).resolve().parents[1]
_BIN = Path(os.environ.get("GUARDRAIL_BENCH_VENV", _ROOT / ".venv-bench")) / "bin"
_LITELLM_TOKENS = 100  # it is slow; what a chunk costs does not depend on how many there are
_READY_S = 120.0
_NEMO_WINDOWS = {"NeMo Guardrails": (200, 50), "NeMo Guardrails, small windows": (8, 4)}
"""``chunk_size`` and ``context_size``: as shipped, and such that text is judged about as soon as by us."""
_TARGETS = {"LiteLLM": 10.0, **dict.fromkeys(_NEMO_WINDOWS, 1.0)}
_WHAT = {
    "LiteLLM": "sidecar / LiteLLM proxy with a no-op guardrail, chunks a second",
    "NeMo Guardrails": "sidecar / NeMo Guardrails `stream_async` in process, no-op rail every 150 tokens (its default)",
    "NeMo Guardrails, small windows": "sidecar / NeMo Guardrails `stream_async` in process, no-op rail every 4 tokens",
}

_Load = Callable[[], Awaitable[dict[str, float]]]


async def measure(*, full: bool) -> Answer:
    """Chunks a second of the sidecar over those of each peer."""
    missing: dict[str, str] = {}
    measured: dict[str, list[dict[str, float]]] = {}
    async with AsyncExitStack() as stack:
        ends = await stack.enter_async_context(both_ends())
        silent = ("benchmarks.load.sidecar", "--scorer", "silent")
        path = await stack.enter_async_context(through_envoy(ends.port, *silent))
        assert path.processor is not None
        loads: dict[str, _Load] = {
            "sidecar": _through(ends, path.address, path.processor.pid, TOKENS),
        }
        for names, starts in ((["LiteLLM"], _litellm(ends)), (list(_NEMO_WINDOWS), _nemo())):
            try:
                loads |= zip(names, await stack.enter_async_context(starts), strict=True)
            except (OSError, RuntimeError, TimeoutError) as error:
                missing |= dict.fromkeys(names, (str(error).strip() or "did not start").splitlines()[-1])
        for turn in range(-1, 7 if full else 3):  # the first warms up
            for name, run in loads.items():
                figure = await run()
                measured.setdefault(name, [])
                measured[name] += [figure] if turn >= 0 else []
    rows = [_row(name, measured, missing) for name in _TARGETS]
    details = {
        "versions": _versions(),
        **{name: {key: spread([r[key] for r in runs]) for key in runs[0]} for name, runs in measured.items()},
    }
    return Answer(rows, details)


def _row(name: str, measured: dict[str, list[dict[str, float]]], missing: dict[str, str]) -> Row:
    if name in missing:
        return unmeasured(_WHAT[name], f"at least {_TARGETS[name]:g} times", missing[name])
    pairs = zip(measured["sidecar"], measured[name], strict=True)
    ratio = statistics.median(ours["chunks_per_s"] / theirs["chunks_per_s"] for ours, theirs in pairs)
    rate = statistics.median(run["chunks_per_s"] for run in measured[name])
    return at_least(_WHAT[name], ratio, _TARGETS[name], " times", f"{name} {rate:,.0f} chunks/s")


def _through(ends: BothEnds, address: str, pid: int, tokens: int) -> _Load:
    async def run() -> dict[str, float]:
        before = cpu_s(pid)
        told = await ends.load(address, tokens=tokens, streams=STREAMS)
        if told["same_text"] < 1:
            raise RuntimeError(f"only {told['same_text']:.0%} of the answers said what the upstream said")
        return figures(told, {"processor": cpu_s(pid) - before})

    return run


@asynccontextmanager
async def _litellm(ends: BothEnds) -> AsyncIterator[list[_Load]]:
    """A LiteLLM proxy in front of the upstream."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        port = _free_port()
        model = {"model": "openai/m", "api_base": f"http://127.0.0.1:{ends.port}/v1", "api_key": "none"}
        noop = {"guardrail": "noop_guardrail.Noop", "mode": "post_call", "default_on": True}
        config = {
            "model_list": [{"model_name": "m", "litellm_params": model}],
            "guardrails": [{"guardrail_name": "noop", "litellm_params": noop}],
        }
        (Path(directory) / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        shutil.copy(_ROOT / "benchmarks" / "load" / "noop_guardrail.py", directory)
        process = await asyncio.create_subprocess_exec(
            *(_tool("litellm"), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)),
            cwd=directory,
            env={
                **os.environ,
                "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # loopback only
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await _answers(f"http://127.0.0.1:{port}/health/liveliness", process)
            yield [_through(ends, f"127.0.0.1:{port}", process.pid, _LITELLM_TOKENS)]
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _answers(url: str, process: asyncio.subprocess.Process) -> None:
    """Wait until a server answers.

    Raises:
        RuntimeError: it ended.
        TimeoutError: it did not answer in time.
    """

    def asked() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except OSError:
            return False

    until = time.monotonic() + _READY_S
    while not await asyncio.to_thread(asked):
        if process.returncode is not None:
            raise RuntimeError("the LiteLLM proxy ended at once")
        if time.monotonic() > until:
            raise TimeoutError(f"the LiteLLM proxy was not ready after {_READY_S:.0f} s")
        await asyncio.sleep(0.5)


@asynccontextmanager
async def _nemo() -> AsyncIterator[list[_Load]]:
    """NeMo Guardrails in a process of its own; a load for each of its windows."""
    async with conversing("benchmarks.load.nemo", python=_tool("python")) as (process, ask):
        yield [_asking(process, ask, *window) for window in _NEMO_WINDOWS.values()]


def _asking(process: Process, ask: Ask, chunk_size: int, context_size: int) -> _Load:
    async def run() -> dict[str, float]:
        before = process.cpu_s()
        window = {"chunk_size": chunk_size, "context_size": context_size}
        told = await ask({"streams": STREAMS, "tokens": TOKENS, **window})
        if told["same_text"] < 1:
            raise RuntimeError("NeMo Guardrails did not say what the model said")
        return figures(told, {"processor": process.cpu_s() - before})

    return run


def _tool(name: str) -> str:
    path = _BIN / name
    if not path.exists():
        raise FileNotFoundError(f"no {_BIN.parent.name}/bin/{name}: `make bench-peers` installs the peers")
    return str(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _versions() -> dict[str, str]:
    code = "from importlib.metadata import version as v; print(v('litellm'), v('nemoguardrails'))"
    try:
        said = subprocess.run([_tool("python"), "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(zip(("litellm", "nemoguardrails"), said.stdout.split(), strict=True))
