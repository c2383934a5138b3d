"""Render the numbers of CARD.md from the reports, so that the card says what was measured.

Run `python -m classifiers.default.card --report report.json --floor floor.json --parity parity.txt --card CARD.md
--output NEW.md`: what stands between the two markers of the card is replaced.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"
OTHER_LANGUAGES = frozenset({"agent_redteam_overrefusal", "cold_zh", "korean_hate"})
"""Sets of user turns that are not in English; reported, not averaged."""
OWN = ("written_", "generated_", "own_words", "splices")
"""Sources written for this project: of one hand with training, so not averaged either."""
HELD_BACK_GROUPS = frozenset({"ordinary", "constructive", "lookalike", "foreign", "generated"})
Report = dict[str, Any]


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent."""
    return "" if value is None else f"{100 * value:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def by_set(report: Report, floor: Report, role: str) -> str:
    """Harmful against harmless, per set."""
    rows = []
    for entry in report["sets"]:
        points, rankings = entry["operating_points"], entry["rankings"]
        if entry["role"] != role or not points["harmful"] + points["harmless"]:
            continue
        full, streamed = rankings["full_text"] or {}, rankings["as_streamed"] or {}
        named = rankings["full_text_highest_category"] or {}
        rows.append((
            entry["source"], f"{points['harmful'] + points['harmless']:,}", f"{points['harmful']:,}",
            number(full.get("auc")), number(streamed.get("auc")), number(named.get("auc")),
            number(floor[role].get(entry["source"], {}).get("auc")),
            percent(full.get("best_f1")), percent(points["f1"]), percent(points["recall"]),
            percent(points["false_finding_share"]),
        ))  # fmt: skip
    head = ("set", "turns", "harmful", "AUC at the end", "AUC as streamed", "AUC of the highest category",
            "floor", "best F1", "F1 shipped", "found, %", "false, %")  # fmt: skip
    return table(head, rows)


def macro_user(report: Report) -> str:
    """Macro average over English public sets of user turns with both classes."""
    mine = [e for e in report["sets"] if e["role"] == "user" and e["rankings"]["full_text"]
            and e["source"] not in OTHER_LANGUAGES and not e["source"].startswith(OWN)]  # fmt: skip
    names = ", ".join(e["source"] for e in mine)
    end = sum(e["rankings"]["full_text"]["auc"] for e in mine) / len(mine)
    streamed = sum(e["rankings"]["as_streamed"]["auc"] for e in mine) / len(mine)
    return f"Macro AUC over {len(mine)} English sets ({names}): {end:.3f} at the end, {streamed:.3f} as streamed."


def false_interventions(report: Report) -> str:
    """Benign turns with a finding, by role, group and source."""
    rows = []
    for entry in report["false_interventions"]:
        if entry.get("source") and entry["group"] not in HELD_BACK_GROUPS:
            continue  # in the tables of the sets
        levels = entry["severities"]
        at = levels["2"]
        low, high = at["answers"]["interval"]
        name = " / ".join(filter(None, (entry["role"], entry.get("group"), entry.get("source"))))
        rows.append((
            name, f"{entry['rows']:,}", percent(levels["1"]["answers"]["share"], 2),
            f"{percent(at['answers']['share'], 2)} ({percent(low)} to {percent(high)})",
            percent(levels["3"]["answers"]["share"], 2), number(at["tokens"]["per_1000"]),
        ))  # fmt: skip
    return table(
        ("turns", "count", "severity 1", "severity 2 (95 % interval)", "severity 3", "per 1,000 tokens"), rows
    )


def onsets(report: Report) -> str:
    """Delay, misses and leaks of texts whose onset is known."""
    rows, leaks = [], []
    for entry in report["onsets"]:
        delay = entry["delay_tokens"] or {}
        rows.append((
            f"{entry['role']} / {entry['source']}", entry["rows"], percent(entry["missed_share"]),
            percent(entry["found_before_onset_share"]), number(delay.get("median"), 0), number(delay.get("p95"), 0),
        ))  # fmt: skip
        held = entry["leaked_tokens"]
        medians = [number((held[h]["found_rows"] or {}).get("median"), 0) for h in held]
        leaks.append((entry["source"], *medians))
    if not rows:
        return "No onsets."
    first = table(
        ("texts", "count", "missed, %", "found before the onset, %", "delay, median", "delay, P95"), rows
    )
    names = [f"{h}" for h in report["onsets"][0]["leaked_tokens"]]
    return f"{first}\n\nLeaked tokens of texts that were found, median, by hold-back in tokens:\n\n" + table(
        ("texts", *names), leaks
    )


def heads(report: Report) -> str:
    """Ranking and calibration of each head."""
    rows = []
    for entry in report["categories"]:
        if entry["positive"] < 10 or not entry["full_text"]:
            continue
        points = entry["operating_points"] or {}
        rows.append((
            f"{entry['role']}.{entry['category']}", entry["positive"], f"{entry['known']:,}",
            number(entry["full_text"]["auc"]), percent(points.get("recall")),
            percent(points.get("false_finding_share"), 2),
            number(entry["calibration"]["expected_calibration_error"]),
        ))  # fmt: skip
    return table(("head", "positive", "of", "AUC", "found, %", "false, %", "calibration error"), rows)


def disclosures(report: Report) -> str:
    """Recall of self-harm and distress in user turns, by source."""
    rows = []
    for entry in report["categories"]:
        if entry["role"] != "user" or entry["category"] not in {"self_harm", "mental_distress"}:
            continue
        points = entry["operating_points"] or {}
        for source, found in sorted(points.get("recall_by_source", {}).items()):
            rows.append((f"{entry['category']} / {source}", found["positive"], percent(found["recall"])))
        rows.append((
            f"**{entry['category']}, all**; found under any category: {percent(points.get('recall_any_category'))} %",
            entry["positive"], percent(points.get("recall")),
        ))  # fmt: skip
    return table(("disclosures", "turns", "found, %"), rows)


def languages(report: Report) -> str:
    """Per language and role."""
    rows = []
    for entry in report["languages"]:
        points, full = entry["operating_points"], entry["rankings"]["full_text"] or {}
        rows.append((
            f"{entry['language']} / {entry['role']}", entry["rows"], number(full.get("auc")),
            percent(points["recall"]), percent(points["false_finding_share"]),
        ))  # fmt: skip
    return table(("language", "turns", "AUC", "found, %", "false, %"), rows)


def streaming_cost(report: Report) -> str:
    """F1 as the stream saw it against the whole text's, same thresholds, per role."""
    out = []
    for role in ("user", "assistant"):
        points = report["overall"][role]["operating_points"]
        out.append(
            f"{role}: F1 {percent(points['f1'])} as streamed, {percent(points['full_text_f1'])} from the last token "
            f"alone, a difference of {points['streaming_cost_points']:+.1f} points"
        )
    return "; ".join(out) + "."


def numbers(report: Report, floor: Report, parity: str) -> str:
    """The section between the markers."""
    run = report["run"]
    counts, timing = run["counts"], run["timing"]
    parts = [
        (f"Pack {run['pack']['name']} {run['pack']['version']}, {counts['rows']:,} turns, {timing['scored_tokens']:,} "
        f"tokens scored at {timing['tokens_per_second']:,.0f} tokens/s (provider {run['provider']})."),
        "### Answers", by_set(report, floor, "assistant"),
        "### User turns", by_set(report, floor, "user"), macro_user(report),
        "### Cost of streaming", streaming_cost(report),
        "### False interventions", false_interventions(report),
        "### Delay and leaks", onsets(report),
        "### Disclosures", disclosures(report),
        "### Heads", heads(report),
        "### Languages", languages(report),
        "### Parity and speed", f"```\n{parity.strip()}\n```",
    ]  # fmt: skip
    return "\n\n".join(parts)


def main() -> None:
    """Replace the numbers of the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--floor", type=Path, required=True)
    parser.add_argument("--parity", type=Path, required=True)
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="may be the card itself")
    args = parser.parse_args()
    report, floor = (json.loads(p.read_text(encoding="utf-8")) for p in (args.report, args.floor))
    text = numbers(report, floor, args.parity.read_text(encoding="utf-8"))
    card = args.card.read_text(encoding="utf-8")
    before, after = card.split(BEGIN)[0], card.split(END)[1]
    args.output.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
