"""The report as one page that needs nothing else: tables, plots and definitions.

Everything that comes from data is escaped; row texts are not there to begin with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from classifiers.evaluate.definitions import DEFINITIONS, INTRODUCTIONS
from classifiers.evaluate.summary import interval, number, percent

Report = dict[str, Any]
Row = Sequence[str]

_FEWEST = 10
"""Rows of a kind below which a line is greyed: its shares are little more than chance."""
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1e21; background: #fff; margin: 2rem auto; max-width: 84rem;
  padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
p { max-width: 48rem; } .note { color: #5b6068; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e4e6ea; white-space: nowrap; }
th { border-bottom: 2px solid #b9bec6; vertical-align: bottom; white-space: normal; max-width: 5.5rem; }
td.name, th.name { text-align: left; } td.text, th.text { text-align: left; white-space: normal; min-width: 16rem; }
tr.few td { color: #8a8f98; } tr.sum td { font-weight: 600; }
svg { max-width: 100%; height: auto; } dt { font-weight: 600; margin-top: .6rem; } dd { margin: 0; max-width: 48rem; }
"""


def render(report: Report, plots: dict[str, Sequence[str]]) -> str:
    """The page.

    Args:
        report: what `report.build` made.
        plots: what `plots.draw` made of it.
    """
    run = report["run"]
    title = f"{run['pack']['name']} {run['pack']['version']}: evaluation"
    sections = [
        ("Overall", "overall", _performance_table(_overall_rows(report)), plots["precision_recall"]),
        ("False interventions", "false_interventions", _false_table(report["false_interventions"]), ()),
        ("Sets", "sets", _performance_table(_set_rows(report)), ()),
        ("Recall against false interventions", "curves", "", plots["curves"]),
        ("Onset, delay and leaks", "onsets", _onset_tables(report["onsets"]), plots["onsets"]),
        ("Categories", "categories", _category_table(report["categories"]), ()),
        ("Calibration", "calibration", "", plots["calibration"]),
        ("Languages", "languages", _performance_table(_language_rows(report)), ()),
        ("Run", "run", _run_table(report), ()),
    ]
    body = "".join(
        f"<h2>{escape(head)}</h2><p class=note>{escape(INTRODUCTIONS[key])}</p>{table}"
        + "".join(
            f'<div class="scroll" role="img" aria-label="{escape(head)}">{plot}</div>' for plot in drawn
        )
        for head, key, table, drawn in sections
        if table or drawn
    )
    terms = "".join(f"<dt>{escape(t)}</dt><dd>{escape(meaning)}</dd>" for t, meaning in DEFINITIONS.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>{escape(_headline(report))}</p>{body}"
        f"<h2>Definitions</h2><dl>{terms}</dl></body></html>\n"
    )


def _headline(report: Report) -> str:
    counts = report["run"]["counts"]
    return (
        f"{counts['rows']:,} rows ({counts['harmful']:,} harmful, {counts['harmless']:,} harmless, "
        f"{counts['without_verdict']:,} without a verdict), {counts['tokens']:,} tokens, judged by: "
        f"{report['judging']['policy']}."
    )


def table(head: Row, rows: Iterable[tuple[Row, str]], names: int = 1, text: int | None = None) -> str:
    """A table; its first `names` columns are names, column `text` is prose, each row comes with its class."""

    def cells(row: Row, tag: str) -> str:
        kinds = ["text" if i == text else "name" if i < names else "" for i in range(len(row))]
        pairs = zip(kinds, row, strict=True)
        return "".join(f'<{tag} class="{kind}">{escape(cell)}</{tag}>' for kind, cell in pairs)

    lines = [f'<tr class="{kind}">{cells(row, "td")}</tr>' for row, kind in rows]
    if not lines:
        return ""
    return f'<div class="scroll"><table><tr>{cells(head, "th")}</tr>{"".join(lines)}</table></div>'


def _overall_rows(report: Report) -> list[tuple[str, str, dict[str, Any]]]:
    return [("all sets", name, part) for name, part in report["overall"].items()]


def _set_rows(report: Report) -> list[tuple[str, str, dict[str, Any]]]:
    return [(entry["source"], entry["role"], entry) for entry in report["sets"]]


def _language_rows(report: Report) -> list[tuple[str, str, dict[str, Any]]]:
    return [(entry["language"], entry["role"], entry) for entry in report["languages"]]


def _performance_table(parts: Iterable[tuple[str, str, dict[str, Any]]]) -> str:
    head = ("", "role", "rows", "harmful", "AUC streamed", "AUC full text", "AUC, highest category", "best F1 streamed",
            "at", "best F1 full text", "AP streamed", "precision", "recall", "missed", "false findings",
            "F1", "full-text F1", "streaming cost")  # fmt: skip
    rows = []
    for name, role, part in parts:
        ranks, at = part["rankings"], part["operating_points"]
        streamed, full = ranks["as_streamed"] or {}, ranks["full_text"] or {}
        few = any(0 < at[kind] < _FEWEST for kind in ("harmful", "harmless"))
        cells = (
            name, role, f"{part['rows']:,}", f"{at['harmful']:,}",
            number(streamed.get("auc")), number(full.get("auc")),
            number((ranks["as_streamed_highest_category"] or {}).get("auc")),
            percent(streamed.get("best_f1")), number(streamed.get("threshold")), percent(full.get("best_f1")),
            number(streamed.get("average_precision")), percent(at["precision"]), percent(at["recall"]),
            percent(at["missed_share"]), percent(at["false_finding_share"], 2), percent(at["f1"]),
            percent(at["full_text_f1"]), number(at["streaming_cost_points"], 1),
        )  # fmt: skip
        rows.append((cells, "few" if few else ""))
    return table(head, rows, names=2)


def _false_table(entries: Sequence[dict[str, Any]]) -> str:
    head = ("role", "group", "source", "rows", "tokens", "severity 1+", "severity 2+", "95 % interval", "severity 3",
            "2+ per 1,000 tokens", "95 % interval", "categories at 2+")  # fmt: skip
    rows = []
    for entry in entries:
        levels = entry["severities"]
        clear = levels["2"]
        ends = clear["tokens"]["interval"]
        causes = ", ".join(f"{name} {count}" for name, count in clear["categories"].items())
        cells = (
            entry["role"], entry.get("group", "all"), entry.get("source", "all"), f"{entry['rows']:,}",
            f"{entry['tokens']:,}", percent(levels["1"]["answers"]["share"], 2),
            percent(clear["answers"]["share"], 2), interval(clear["answers"]["interval"], 2),
            percent(levels["3"]["answers"]["share"], 2), number(clear["tokens"]["per_1000"]),
            f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "-", causes,
        )  # fmt: skip
        few = entry["rows"] < _FEWEST
        rows.append((cells, "few" if few else "" if "source" in entry else "sum"))
    return table(head, rows, names=3, text=len(head) - 1)


def _category_table(entries: Sequence[dict[str, Any]]) -> str:
    head = ("role", "category", "known", "positive", "point at severity 2", "AUC streamed", "AUC full text",
            "AP streamed", "best F1 streamed", "precision", "recall", "recall, any category", "false findings",
            "ECE")  # fmt: skip
    rows = []
    for entry in entries:
        streamed, full = entry["as_streamed"] or {}, entry["full_text"] or {}
        at, points = entry["operating_points"] or {}, entry["thresholds"] or {}
        cells = (
            entry["role"], entry["category"], f"{entry['known']:,}", f"{entry['positive']:,}",
            number(points.get("2")) if points else "not judged",
            number(streamed.get("auc")), number(full.get("auc")), number(streamed.get("average_precision")),
            percent(streamed.get("best_f1")), percent(at.get("precision")), percent(at.get("recall")),
            percent(at.get("recall_any_category")), percent(at.get("false_finding_share"), 2),
            number(entry["calibration"]["expected_calibration_error"]),
        )  # fmt: skip
        rows.append((cells, "few" if entry["positive"] < _FEWEST else ""))
    return table(head, rows, names=2)


def _onset_tables(entries: Sequence[dict[str, Any]]) -> str:
    head = ("role", "source", "rows", "delay median", "P95", "found before", "missed")
    rows = []
    leak_rows = []
    for entry in entries:
        delay, leaks = entry["delay_tokens"], entry["leaked_tokens"]
        kind = "sum" if entry["source"] == "all" else ""
        cells = (
            entry["role"], entry["source"], f"{entry['rows']:,}", number(delay["median"], 1), number(delay["p95"], 1),
            percent(entry["found_before_onset_share"]), percent(entry["missed_share"]),
        )  # fmt: skip
        rows.append((cells, kind))
        for rows_of, name in (("found_rows", "where found"), ("all_rows", "all rows")):
            means = (number(leak[rows_of]["mean"], 1) for leak in leaks.values())
            leak_rows.append(((entry["role"], entry["source"], name, *means), kind))
    held = next((list(entry["leaked_tokens"]) for entry in entries), [])
    leak_head = ("role", "source", "mean tokens leaked", *(f"hold-back {name}" for name in held))
    return table(head, rows, names=2) + "<p></p>" + table(leak_head, leak_rows, names=3) if entries else ""


def _run_table(report: Report) -> str:
    run = report["run"]
    timing = run["timing"]
    facts = {
        "pack": f"{run['pack']['name']} {run['pack']['version']}, family {run['pack']['family']}",
        "provider": run["provider"] + (f" ({run['why_not_cuda']})" if run["why_not_cuda"] else ""),
        "machine": f"{run['machine']['cores']} cores, {run['machine']['architecture']}",
        "scoring": f"{timing['scored_tokens']:,} tokens (turns before included) in {timing['seconds']:.1f} s, "
        f"{number(timing['tokens_per_second'], 0)} tokens/s",
        "never judged": ", ".join(report["judging"]["never_judged"]) or "none",
        "options": " ".join(f"{name}={value}" for name, value in run["command"].items()),
        "versions": ", ".join(f"{name} {value}" for name, value in run["versions"].items()),
    }
    rows = (((name, value), "") for name, value in facts.items())
    return table(("", ""), rows, text=1)
