"""Run every benchmark, or those named: ``python -m benchmarks [NAME ...]``.

Each prints its answer and writes ``benchmarks/results/NAME.json`` with commit and machine. Absolute
numbers depend on the machine and on what else runs there; compare the ratios.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from benchmarks import cascade, engine_process, guarding_cost, overload, scoring_cost

QUESTIONS = {
    "cascade": cascade.measure,
    "engine_process": engine_process.measure,
    "guarding_cost": guarding_cost.measure,
    "overload": overload.measure,
    "scoring_cost": scoring_cost.measure,
}
RESULTS = Path(__file__).with_name("results")


def machine() -> dict[str, object]:
    """What the numbers were taken on."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
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


def main(names: list[str]) -> int:
    """Measure and write; the exit code."""
    unknown = [name for name in names if name not in QUESTIONS]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(QUESTIONS)}", file=sys.stderr)
        return 2
    for name in names or QUESTIONS:
        about = {"commit": commit(), "machine": machine()}
        result = asyncio.run(QUESTIONS[name]())
        RESULTS.mkdir(exist_ok=True)
        target = RESULTS / f"{name}.json"
        target.write_text(json.dumps({**about, "results": result}, indent=1) + "\n")
        print(f"{name}: {json.dumps(result, indent=1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
