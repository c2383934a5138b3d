"""The turns that a trained classifier is calibrated and measured on; none was trained on.

They are the development file, the benign rows held back from training sources, splices with a known
onset, and rows written or generated for this project that training did not see. Every source falls into two
folds by the text's hash: operating points are fitted on `fit`, reports are made on `report`.

Run `python -m classifiers.default.sets --data DIR --chitchat FILE --output DIR` to write both folds
as JSON lines in the data format, for `classifiers.evaluate`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from classifiers.default.conversation import Encoder, Example, Span, held_back
from classifiers.default.data import SMALL_TALK_ROWS, UNREADABLE, read_chitchat, read_rows
from classifiers.default.generated import generate
from classifiers.default.own_words import own_words
from classifiers.default.written import answered, judged, reread, written
from guardrail.core.spans import Span as TextSpan
from guardrail.core.verdicts import TokenScore
from guardrail.policy.prompt import judged_tokens

Row = dict[str, Any]
Fold = Literal["fit", "report"]

PROMPT_TOKENS = 120
TEXT_TOKENS = 400
UNSEEN_SEED = 977
ANSWERING = 300
"""Own words that are also scored after a risky turn."""
MOST_OF_A_SOURCE = {"beavertails_test": 3010, "saferlhf_test": 1629, "esconv": 1200, "chitchat": 900,
                    "openai_moderation": 741, "gptfuzz_responses": 1380}  # fmt: skip
DEFAULT_MOST = 800
SPLICES = 600

ORDINARY = frozenset({"arena_hard", "self_instruct_user", "chitchat"})
"""Held-back ordinary answers; their prompts are ordinary user turns."""
CONSTRUCTIVE = frozenset({"caia_constructive", "star1_safe", "esconv", "coconot_pref_responses"})
"""Good answers on risky topics, and counselling."""
LOOKALIKES = frozenset({"jbb_behaviors", "cyberseceval_frr", "coconot_pref", "caia_constructive_prompts"})
"""Sets whose harmless user turns sound risky."""


def fold(row: Row) -> Fold:
    """Which half of the held-back rows a row belongs to, by its text."""
    return "fit" if int(hashlib.sha256(row["text"].encode()).hexdigest(), 16) >> 8 & 1 else "report"


@dataclass
class Case:
    """One scored turn: its row, and its conversation in tokens."""

    row: Row
    """In the data format, with `group`: dev, kept, ordinary, constructive, lookalike, foreign, splice, generated."""
    example: Example
    judged: list[int] = field(default_factory=list)
    """The tokens of the turn that are judged: those that end a user's sentences, every one of an answer."""

    @property
    def role(self) -> str:
        """Whose turn it is."""
        return str(self.row["role"])


def case(row: Row, encoder: Encoder) -> Case:
    """The turn of `row`, given what came before it."""
    example = encoder.start()
    for speaker, said in row.get("before", ())[-2:]:
        encoder.turn(example, speaker, said, PROMPT_TOKENS)
    if row.get("prompt"):
        before = "user" if row["role"] == "assistant" else "assistant"
        encoder.turn(example, before, row["prompt"], PROMPT_TOKENS)
    span = Span(0 if row["role"] == "user" else 1)
    encoder.turn(example, row["role"], row["text"], TEXT_TOKENS, span)
    count = span.end - span.start
    if row["role"] == "assistant":
        return Case(row, example, list(range(count)))
    offsets = encoder.tokenizer.encode(row["text"], add_special_tokens=False).offsets[:count]
    tokens = [TokenScore(TextSpan(start, end), {}) for start, end in offsets]
    return Case(row, example, judged_tokens(row["text"], tokens))


def _group(row: Row, default: str) -> str:
    source, role = row["src"], row["role"]
    if source in ORDINARY or source == "arena_hard_prompts":
        return "ordinary"
    if source in CONSTRUCTIVE:
        return "constructive"
    if row["harm"] == 0 and row["lang"] in UNREADABLE:
        return "foreign"
    if row["harm"] == 0 and not row["labels"]:
        if source in LOOKALIKES or (source.startswith("written_") and role == "user"):
            return "lookalike"
        if source.startswith("written_") or source == "smollm2_answers":
            if source == "smollm2_answers" and row["user"]:
                return default  # harmless, but not made to be constructive
            # What answers a harmless question is an ordinary answer.
            plain = source in {"written_ordinary", "smollm2_answers"} and not row["user"]
            return "ordinary" if plain else "constructive"
    return default


def _splices(openings: list[Row], harmful: list[Row], rng: random.Random, count: int) -> Iterator[Row]:
    """Benign openings of held-back answers, spliced to harmful answers of the development file."""
    for number in range(count):
        first, second = rng.choice(openings), rng.choice(harmful)
        opening = first["text"][: rng.randint(60, 300)]
        opening = opening[: max(opening.rfind(". "), opening.rfind("\n"), 20) + 1].rstrip()
        yield second | {
            "id": f"splices/{number}",
            "src": "splices",
            "text": f"{opening} {second['text']}",
            "onset": len(opening) + 1,
            "group": "splice",
        }


def known_onsets() -> dict[str, int]:
    """Ids of harmful development rows in which a reader marked the code point where they turn harmful."""
    with Path(__file__).with_name("onsets.tsv").open(encoding="utf-8", newline="") as file:
        return {line["id"]: int(line["onset"]) for line in csv.DictReader(file, delimiter="\t")}


def held_back_rows(data: Path, chitchat: Path) -> Iterator[Row]:
    """Every row that this project could have trained on and did not."""
    public = list(reread(judged(read_rows(data / "train.jsonl.gz"))))
    yield from (r for r in (*public, *answered(public)) if held_back(r))
    small_talk = read_chitchat(chitchat, random.Random(1), SMALL_TALK_ROWS)
    yield from (r for r in small_talk if held_back(r))
    yield from (r for r in written() if held_back(r))


def rows(data: Path, chitchat: Path) -> list[Row]:
    """All rows, in both folds, each with its group."""
    rng = random.Random(5)
    out: list[Row] = []
    dev: dict[str, list[Row]] = {}
    onsets = known_onsets()
    for row in read_rows(data / "dev.jsonl.gz"):
        known = {"onset": onsets[row["id"]]} if row.get("id") in onsets else {}
        dev.setdefault(row["src"], []).append(row | known)
    kept: dict[str, list[Row]] = {}
    for row in held_back_rows(data, chitchat):
        kept.setdefault(row["src"], []).append(row)
    for default, sources in (("dev", dev), ("kept", kept)):
        for source, members in sorted(sources.items()):
            rng.shuffle(members)
            for row in members[: MOST_OF_A_SOURCE.get(source, DEFAULT_MOST)]:
                out.append(row | {"group": _group(row, default)})
                if source in ORDINARY and source != "arena_hard":
                    asked = {"role": "user", "text": row["prompt"], "prompt": None, "labels": {}}
                    named = {"id": f"{row['id']}/prompt"} if "id" in row else {}
                    out.append(row | asked | named | {"group": "ordinary"})
    sources_of_harm = ("beavertails_test", "saferlhf_test", "gptfuzz_responses")
    harmful = [r for s in sources_of_harm for r in dev[s] if r["harm"] == 1]
    openings = [r for s in ("arena_hard", "self_instruct_user") for r in kept[s]]
    out.extend(_splices(openings, harmful, rng, SPLICES))
    out.extend(own_rows(rng))
    return out


def own_rows(rng: random.Random) -> Iterator[Row]:
    """Generated rows of another seed; all that the composer can say, alone and as a risky turn's answer.

    Training knows the composer's texts: what counts is that the ones we say stay without a finding.
    """
    risky: list[str] = []
    for row in generate(UNSEEN_SEED, 0.12):
        yield row | {"group": "generated"}
        if row.get("user") or row["src"] == "generated_disclosure":
            risky.append(row["prompt"] or row["text"])
        if row.get("user"):
            # Where the answer turns harmful says nothing about the question.
            about = {key: value for key, value in row.items() if key not in {"onset", "user"}}
            asked = {"role": "user", "text": row["prompt"], "prompt": None, "labels": row["user"]}
            yield about | asked | {"harm": None, "group": "generated"}
    words = list(own_words(UNSEEN_SEED))
    for row in words:
        yield row | {"group": "generated"}
    for row in words[:ANSWERING]:
        yield row | {"prompt": rng.choice(risky), "src": "own_words_answering", "group": "generated"}


def main() -> None:
    """Write `fit.jsonl` and `report.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--chitchat", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with (
        (args.output / "fit.jsonl").open("w", encoding="utf-8") as fit,
        (args.output / "report.jsonl").open("w", encoding="utf-8") as report,
    ):
        for number, row in enumerate(rows(args.data, args.chitchat)):
            line: Row = {"id": f"{row['src']}/{number}"} | row
            if line.pop("before", None):
                asked = line.pop("prompt")
                turns = [*row["before"], *([("user", asked)] if asked else [])]
                line["messages"] = [{"role": speaker, "content": said} for speaker, said in turns]
            (fit if fold(row) == "fit" else report).write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
