"""The report's plots, as SVG to be put into a page: drawn from the report's data alone.

Figures are made without matplotlib's global state. Text stays text, so that plots are small and can be
searched.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Report = dict[str, Any]
Drawn = dict[str, Sequence[str]]

_BLUE, _RED, _GREY, _GREEN = "#1f5fa8", "#c2410c", "#8a8f98", "#2f7d4f"
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "guardrail",  # the same numbers give the same file
    "text.parse_math": False,  # names of sets may hold a dollar sign
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
_COLUMNS = 4
_SMALLEST_RATE = 1e-4
"""Where the axis of false-intervention rates begins; rates below, 0 too, are drawn there."""
_RATES = {1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 0.1: "10 %", 1: "100 %"}
_FEWEST_CALIBRATED = 20
"""Rows below which a reliability diagram is not drawn; the report's data has it all the same."""


def draw(report: Report) -> Drawn:
    """Name of a section to the plots that belong there; sections without data have none."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Names in scripts our font lacks are drawn by the reader's browser.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        curves = [
            (f"{each['source']} ({each['role']})", each["curve"]) for each in report["sets"] if each["curve"]
        ]
        overall = [
            (name, part) for name, part in report["overall"].items() if part["rankings"]["as_streamed"]
        ]
        reliability = [
            each for each in report["categories"] if each["calibration"]["rows"] >= _FEWEST_CALIBRATED
            and each["calibration"]["positive"]
        ]  # fmt: skip
        return {
            "curves": _panels(curves, _curve),
            "precision_recall": _panels(overall, _precision_recall),
            "onsets": [
                _svg(_onset_figure(each), f"delay, {each['role']}, {each['source']}")
                for each in report["onsets"]
                if each["source"] == "all"
            ],
            "calibration": _panels(
                [(f"{e['category']} ({e['role']})", e) for e in reliability], _reliability
            ),
        }


def _panels(items: Sequence[tuple[str, Any]], plot: Callable[[Axes, Any], None]) -> list[str]:
    """One figure of small panels, one an item."""
    if not items:
        return []
    columns = min(_COLUMNS, len(items))
    rows = -(-len(items) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, (title, item) in zip(panels, items, strict=False):
        panel.set_title(title)
        plot(panel, item)
    for panel in list(figure.axes)[len(items) :]:
        panel.remove()
    return [_svg(figure, ", ".join(title for title, _ in items))]


def _curve(axes: Axes, curve: dict[str, Any]) -> None:
    points = [(max(false, _SMALLEST_RATE), recall) for false, recall in curve["points"]]
    axes.plot(*zip(*points, strict=True), color=_BLUE, linewidth=1.2, drawstyle="steps-post")
    false, recall = curve["operating_point"]
    axes.plot([max(false, _SMALLEST_RATE)], [recall], "o", color=_RED, markersize=5, clip_on=False)
    # Left of one row in all there is nothing to measure.
    axes.axvspan(
        _SMALLEST_RATE, max(1 / curve["benign_rows"], _SMALLEST_RATE), color=_GREY, alpha=0.15, linewidth=0
    )
    axes.set_xscale("log")
    axes.set_xlim(_SMALLEST_RATE, 1)
    axes.set_xticks(list(_RATES), list(_RATES.values()))
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("false-intervention rate")
    axes.set_ylabel("recall")


def _precision_recall(axes: Axes, part: dict[str, Any]) -> None:
    for key, colour, name in (("as_streamed", _BLUE, "as streamed"), ("full_text", _GREY, "full text")):
        points = part["rankings"][key]["precision_recall"]
        axes.plot([p[2] for p in points], [p[1] for p in points], color=colour, linewidth=1.2, label=name)
    at = part["operating_points"]
    if at["precision"] is not None and at["recall"] is not None:
        axes.plot([at["recall"]], [at["precision"]], "o", color=_RED, markersize=5, label="operating points")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.legend(fontsize=7)


def _reliability(axes: Axes, entry: dict[str, Any]) -> None:
    measured = entry["calibration"]
    table = measured["reliability"]
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
    # A bin of two rows says little and must not look like one of two hundred.
    axes.scatter(
        [row["mean_score"] for row in table],
        [row["observed"] for row in table],
        s=[6 + 90 * (row["rows"] / measured["rows"]) ** 0.5 for row in table],
        color=_BLUE,
        alpha=0.75,
        linewidths=0,
        clip_on=False,
        zorder=3,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(f"score (ECE {measured['expected_calibration_error']:.3f}, {measured['rows']} rows)")
    axes.set_ylabel("observed")


def _onset_figure(entry: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(10.4, 2.8), layout="constrained")
    histogram, leaks, within = figure.subplots(1, 3)
    bins = entry["delay_histogram"]
    names = [f"{b['from']}" if b["from"] == b["to"] else f"{b['from']}-{b['to']}" for b in bins]
    bars = [("before", entry["found_before_onset"], _GREEN)]
    bars += [(name, b["rows"], _BLUE) for name, b in zip(names, bins, strict=True)]
    bars += [("missed", entry["missed"], _RED)]
    histogram.bar([b[0] for b in bars], [b[1] for b in bars], color=[b[2] for b in bars])
    histogram.tick_params(axis="x", rotation=60)
    histogram.set_title("delay from onset to finding")
    histogram.set_xlabel("tokens")
    histogram.set_ylabel("rows")
    held = entry["leaked_tokens"]
    for measure, colour in (("mean", _BLUE), ("p95", _RED)):
        values = [held[name]["found_rows"][measure] for name in held]
        leaks.plot(list(held), [v if v is not None else float("nan") for v in values], "o-", color=colour,
                   markersize=3, label=measure)  # fmt: skip
    leaks.set_ylim(bottom=0)
    leaks.tick_params(axis="x", rotation=60)
    leaks.set_title("harmful tokens leaked, where found")
    leaks.set_xlabel("hold-back, tokens")
    leaks.legend(fontsize=7)
    for name, by_delay in entry["recall_within"].items():
        if by_delay is None:
            continue
        steps = [key for key in by_delay if key != "threshold"]
        label = "operating points" if name == "operating_points" else f"{float(name):.1%} false interventions"
        style = {"color": _RED} if name == "operating_points" else {"linestyle": "--"}
        within.plot(steps, [by_delay[key] for key in steps], marker="o", markersize=3, label=label, **style)
    within.set_ylim(0, 1.02)
    within.set_title("recall within tokens of onset (0: before)")
    within.set_xlabel("tokens")
    within.legend(fontsize=7)
    return figure


def _svg(figure: Figure, description: str) -> str:
    """The figure as an element; without the XML prologue, which has no place inside a page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Title": description})
    text = file.getvalue()
    return text[text.index("<svg") :]
