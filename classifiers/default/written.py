"""Rows written or judged for this project: `written/*.jsonl`, and verdicts on answers that had none.

`answered.jsonl` holds answers of SmolLM2-135M-Instruct (Apache-2.0) to questions of licence tier A, with a
reader's labels. A question is named by the id of its row, or of a row whose conversation it opens.
`reread.tsv` holds a second reader's verdicts on harmful answers of jailbreak sets: 0 to 3, and where they turn harmful.
`verdicts.tsv` holds, for rows of `hh_harmless_test` (pairs of answers to red-team prompts, published with
preferences only), what a reader found: the answer's labels, where it turns harmful, the labels of
the user's turn. It names rows by id and quotes nothing.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Labels = dict[str, int]

HERE = Path(__file__).parent
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def written() -> Iterator[Row]:
    """Every row of `written/`, in the data format; the source is "written_" and the file's name."""
    for path in sorted((HERE / "written").glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                row = json.loads(line)
                labels: Labels = row["labels"]
                severe = max((v for c, v in labels.items() if c != "mental_distress"), default=0)
                out = {
                    "id": f"written_{path.stem}/{number}",
                    "src": f"written_{path.stem}",
                    "role": row["role"],
                    "lang": row.get("lang", "en"),
                    "text": row["text"],
                    "prompt": row.get("prompt"),
                    "labels": labels,
                    "harm": int(severe >= (2 if row["role"] == "user" else 1)),
                    "lic": "A",
                }
                if "user" in row:
                    out["user"] = row["user"]
                if row.get("onset"):
                    out["onset"] = row["text"].index(row["onset"])
                yield out


def parse_labels(text: str) -> Labels:
    """`category:severity`, comma-separated; "0" is none."""
    if text == "0":
        return {}
    return {name: int(level) for name, level in (part.split(":") for part in text.split(","))}


def judged(rows: Iterable[Row]) -> Iterator[Row]:
    """`rows`, those with a verdict of ours carrying it, their conversation parted into turns."""
    with (HERE / "verdicts.tsv").open(encoding="utf-8", newline="") as file:
        verdicts = {line["id"]: line for line in csv.DictReader(file, delimiter="\t")}
    for row in rows:
        verdict = verdicts.get(row.get("id"))
        if verdict is None:
            yield row
            continue
        labels = parse_labels(verdict["answer"])
        *before, (speaker, asked) = turns(row["prompt"])
        out = row | {"labels": labels, "harm": int(bool(labels)), "before": before, "prompt": asked}
        if speaker == "user":
            out["user"] = parse_labels(verdict["user"])
        else:
            # The assistant goes on after a turn of its own: no question stands right before the answer.
            out |= {"before": [*before, (speaker, asked)], "prompt": None}
        if verdict["onset"]:
            out["onset"] = int(verdict["onset"])
        yield out


def reread(rows: Iterable[Row]) -> Iterator[Row]:
    """`rows`, harmful answers that were read again with what the second reader found.

    What was found harmless carries no label; what is borderline at most severity 1; an onset is a code point.
    """
    with (HERE / "reread.tsv").open(encoding="utf-8", newline="") as file:
        found = {line["id"]: line for line in csv.DictReader(file, delimiter="\t")}
    for row in rows:
        again = found.get(row.get("id"))
        if again is None:
            yield row
            continue
        severity = int(again["severity"])
        labels = {
            name: min(level, severity) if severity < 2 else level for name, level in row["labels"].items()
        }
        out = row | {"labels": labels if severity else {}, "harm": int(severity > 0)}
        yield out | ({"onset": int(again["onset"])} if again["onset"] else {})


def answered(rows: Iterable[Row]) -> Iterator[Row]:
    """The small model's answers to questions among `rows`; a question may have several."""
    answers: dict[str, list[Row]] = {}
    with (HERE / "answered.jsonl").open(encoding="utf-8") as file:
        for line in map(json.loads, file):
            answers.setdefault(line["question"], []).append(line)
    for row in rows:
        for number, answer in enumerate(answers.get(row.get("id", ""), ())):
            labels = parse_labels(answer["answer"])
            out = {
                "id": f"smollm2_answers/{row['id']}" + (f"/{number}" if number else ""),
                "src": "smollm2_answers",
                "role": "assistant",
                "lang": "en",
                "text": answer["text"],
                "prompt": _question(row),
                "labels": labels,
                "harm": int(bool(labels)),
                "user": parse_labels(answer["user"]),
                "lic": "A",
            }
            yield out | ({"onset": answer["onset"]} if "onset" in answer else {})


def _question(row: Row) -> str:
    """A user's turn; of an answer's row, the first turn of its conversation."""
    if row["role"] == "user":
        return str(row["text"])
    first, *_ = row.get("before") or turns(row["prompt"])
    return str(first[1])


def turns(text: str) -> list[tuple[str, str]]:
    """(role, text) of a conversation written as "Human: ... Assistant: ..."; plain text is one user turn."""
    parts = _TURN.split(text)
    if len(parts) == 1:
        return [("user", text)]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [(roles[name], said.strip()) for name, said in zip(parts[1::2], parts[2::2], strict=True)]
