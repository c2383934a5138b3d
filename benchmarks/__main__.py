"""Run every benchmark, or those named: ``python -m benchmarks [--full] [NAME ...]``.

Each runs in a process of its own, so that none sees what another left behind and a part that fails or is
missing hides nothing else; it writes ``benchmarks/results/NAME.json`` with commit, machine and the load
before it. At the end the table and the plots of ``benchmarks/README.md`` are made anew from all results.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import answer, plots, table

QUESTIONS = (
    "length_cost",
    "scoring_cost",
    "sidecar_throughput",
    "peers",
    "added_latency",
    "memory",
    "gpu_rate",
    "engine_process",
    "overload",
    "cascade",
)
_LIMIT_S, _FULL_LIMIT_S = 300.0, 3600.0


def machine() -> dict[str, object]:
    """What the numbers are taken on, and how busy it was before."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def commit() -> str:
    """The commit the working tree stands on, marked when it was changed."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def run(name: str, *, full: bool) -> dict[str, Any]:
    """One benchmark in a process of its own; what went wrong stands in its result."""
    about = {"commit": commit(), "machine": machine(), "full": full}
    began = time.monotonic()
    limit_s = _FULL_LIMIT_S if full else _LIMIT_S
    pool = ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"))
    future = pool.submit(answer.of, name, full)
    try:
        told = future.result(limit_s)
    except Exception as error:  # noqa: BLE001 - whatever it was, the others still have their turn
        reason = str(error) or f"not done after {limit_s:.0f} s"
        told = {"rows": [], "error": f"{type(error).__name__}: {reason}"}
        for process in (pool._processes or {}).values():  # noqa: SLF001 - there is no other way to end one that hangs
            process.terminate()
    pool.shutdown(wait=True, cancel_futures=True)
    return {**about, "took_s": round(time.monotonic() - began, 1), **told}


def show(name: str, result: dict[str, Any]) -> None:
    """Say what came of it."""
    print(f"{name} ({result['took_s']} s)", flush=True)
    if "error" in result:
        print(f"  failed: {result['error']}")
    for row in result["rows"]:
        print(f"  {table.cells(answer.Row(**row))}", flush=True)


def main() -> int:
    """Measure, write, render; 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUESTIONS)}; all by default")
    parser.add_argument("--full", action="store_true", help="with the long soak and more repetitions")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in QUESTIONS]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(QUESTIONS)}")
    failed = False
    table.RESULTS.mkdir(exist_ok=True)
    for name in arguments.names or QUESTIONS:
        result = run(name, full=arguments.full)
        (table.RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        show(name, result)
        failed = failed or "error" in result
    table.rewrite(QUESTIONS)
    if reason := plots.draw():
        print(f"no plots: {reason}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
