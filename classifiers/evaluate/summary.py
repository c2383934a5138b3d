"""A few lines for a terminal: what to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Report = dict[str, Any]


def summarise(report: Report) -> str:
    """The report in short."""
    run, counts, timing = report["run"], report["run"]["counts"], report["run"]["timing"]
    verdicts = f"{counts['harmful']} harmful, {counts['harmless']} harmless, {counts['without_verdict']} without verdict"
    lines = [
        f"pack {run['pack']['name']} {run['pack']['version']} on {run['provider']}",
        f"judged by {report['judging']['policy']}",
        f"{counts['rows']} rows ({verdicts}), {counts['tokens']:,} tokens",
        f"scored at {number(timing['tokens_per_second'], 0)} tokens/s",
        "",
        *_table(
            ("rows of", "AUC", "AUC full", "precision", "recall", "F1", "F1 full", "cost"),
            [_overall(name, part) for name, part in report["overall"].items()],
        ),
        "",
        *_table(
            ("benign rows of", "rows", "severity 2+", "95 % interval", "per 1,000 tokens", "most often"),
            [_benign(entry) for entry in report["false_interventions"] if "source" not in entry],
        ),
    ]
    onsets = [entry for entry in report["onsets"] if entry["source"] == "all"]
    if onsets:
        names = ("onset known", "rows", "delay median", "P95", "before", "missed")
        lines += ["", *_table(names, [_onset(entry) for entry in onsets])]
    return "\n".join(lines)


def _overall(name: str, part: dict[str, Any]) -> tuple[str, ...]:
    ranks, at = part["rankings"], part["operating_points"]
    return (
        name,
        number((ranks["as_streamed"] or {}).get("auc")),
        number((ranks["full_text"] or {}).get("auc")),
        percent(at["precision"]),
        percent(at["recall"]),
        percent(at["f1"]),
        percent(at["full_text_f1"]),
        number(at["streaming_cost_points"], 1),
    )


def _benign(entry: dict[str, Any]) -> tuple[str, ...]:
    clear = entry["severities"]["2"]
    return (
        " ".join(entry[key] for key in ("role", "group") if key in entry),
        str(entry["rows"]),
        percent(clear["answers"]["share"], 2),
        interval(clear["answers"]["interval"], 2),
        number(clear["tokens"]["per_1000"]),
        ", ".join(f"{name} {count}" for name, count in list(clear["categories"].items())[:3]),
    )


def _onset(entry: dict[str, Any]) -> tuple[str, ...]:
    delay = entry["delay_tokens"]
    return (
        entry["role"],
        str(entry["rows"]),
        number(delay["median"], 1),
        number(delay["p95"], 1),
        percent(entry["found_before_onset_share"]),
        percent(entry["missed_share"]),
    )


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    """An interval of shares as percentages."""
    return "-" if ends is None else f"{100 * ends[0]:.{digits}f} to {100 * ends[1]:.{digits}f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(w) if i in {0, len(head)} else cell.rjust(w)
                  for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in (head, *rows)
    ]  # fmt: skip
