"""The plots of ``README.md``, as SVG, from the results: ``python -m benchmarks.plots``. matplotlib is optional."""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks.table import RESULTS

_STYLE: Any = {
    "figure.figsize": (6.4, 3.2),
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "guardrail",  # the same numbers make the same file
}


def draw() -> str:
    """Draw what there are results for.

    Returns:
        Why nothing was drawn; "" if something was.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only in an extra

        mpl.use("svg")
        import matplotlib.pyplot as plt  # noqa: PLC0415
    except ImportError:
        return "matplotlib is not installed (pip install 'guardrail[evaluate]')"
    drawn = False
    with plt.rc_context(_STYLE):
        for name, plot in _PLOTS.items():
            details = _details(name)
            if details is None:
                continue
            figure, axes = plt.subplots()
            plot(axes, details)
            figure.tight_layout()
            figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)
            drawn = True
    return "" if drawn else "there are no results"


def _details(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    details: dict[str, Any] | None = json.loads(path.read_text("utf-8")).get("details") or None
    return details


def _length_cost(axes: Any, details: dict[str, Any]) -> None:
    for label, costs in details.items():
        lengths = [int(length) for length in costs["cpu_us_per_token"]]
        axes.plot(lengths, list(costs["cpu_us_per_token"].values()), marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("length of the stream, tokens")
    axes.set_ylabel("CPU a token, us")
    axes.legend(frameon=False)


def _scoring_cost(axes: Any, details: dict[str, Any]) -> None:
    label, measured = next(iter(details.items()))
    _bars(axes, measured["tokens_per_s"], f"tokens/s, {label}")


def _sidecar_throughput(axes: Any, details: dict[str, Any]) -> None:
    bars = {
        f"{name}, {label}": runs["chunks_per_s"]
        for label, by_path in details.items()
        for name, runs in by_path.items()
    }
    _bars(axes, bars, "chunks/s, 64 streams unpaced")


def _peers(axes: Any, details: dict[str, Any]) -> None:
    bars = {name: runs["chunks_per_s"] for name, runs in details.items() if name != "versions"}
    _bars(axes, bars, "chunks/s, 64 streams unpaced, guardrails that do nothing")


def _added_latency(axes: Any, details: dict[str, Any]) -> None:
    marks = {"first_p50_ms": "first, p50", "gaps_p50_ms": "gap, p50", "gaps_p99_ms": "gap, p99"}
    found = details["spread"]
    for offset, name in ((-0.2, "unguarded"), (0.2, "guarded")):
        places = [place + offset for place in range(len(marks))]
        axes.barh(places, [found[name][key] for key in marks], height=0.35, label=name)
    axes.set_yticks(range(len(marks)), list(marks.values()))
    axes.invert_yaxis()
    axes.set_xlabel("ms, 16 streams at 20 ms a token")
    axes.legend(frameon=False)


def _bars(axes: Any, spreads: dict[str, dict[str, float]], label: str) -> None:
    """Medians, with the range over the repetitions."""
    medians = [spread["median"] for spread in spreads.values()]
    below = [spread["median"] - spread["min"] for spread in spreads.values()]
    above = [spread["max"] - spread["median"] for spread in spreads.values()]
    axes.barh(list(spreads), medians, xerr=[below, above], height=0.6)
    axes.invert_yaxis()
    axes.set_xlabel(label)


_PLOTS = {
    "length_cost": _length_cost,
    "scoring_cost": _scoring_cost,
    "sidecar_throughput": _sidecar_throughput,
    "peers": _peers,
    "added_latency": _added_latency,
}


if __name__ == "__main__":
    sys.exit(draw())
