"""Build the training pool: choose rows, turn them into conversations, tokenise, attach targets.

Run `python -m classifiers.default.data --data DIR --chitchat FILE --encoder DIR --output pool.npz`.
Only rows of licence tier A are taken; rows of the development file never are.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.default.conversation import Encoder, Example, Span, held_back, onset_token
from classifiers.default.generated import generate
from classifiers.default.labels import targets
from classifiers.default.own_words import own_words
from classifiers.default.written import answered, judged, reread, written

Row = dict[str, Any]

CAPS: dict[str, int] = {
    # Insults: large, alike, and not what an assistant mostly sees.
    "jigsaw_binary": 8000, "paradetox": 1500, "safenlp": 2500, "davidson_hate": 1500, "edos": 9000,
    "hatemoji_build": 3201, "toxigen_prompts": 651, "told_br": 300, "korean_hate": 700,
    "cold_zh": 700, "convabuse": 1400, "diasafety": 9000,
    # Long, or few distinct goals behind many rows.
    "jailbreak_llms": 1800, "jamjet_pi": 2000, "cyberseceval_pi": 600, "sap200": 500,
    "sap200_outputs": 250, "jailtrick_safe": 800, "gptfuzz_responses": 5014, "harmfulqa": 1000,
    "med_safety_bench": 1500, "sms_spam": 600, "multijail": 500, "positive_frames": 2000,
    # Names and addresses in otherwise ordinary text; topics without verdicts.
    "presidio_synth": 900, "xsafety": 0,
}  # fmt: skip
UNREADABLE = frozenset({"zh", "ko", "ja", "ar", "hi", "bn", "th", "be", "ru"})
DEFAULT_CAP = 6000
REPEATS = {
    "hatemoji_build": 2,
    "hh_harmless_test": 2,
    "smollm2_answers": 2,
    "arena_hard": 2,
    "coconot_pref_responses": 2,
    "self_instruct_user": 2,
}
"""How often a source's rows are in the pool, each time in another setting; `written_*` twice."""
SMALL_TALK_ROWS = 3600
GENERATED_SCALE = 0.5
OWN_WORDS_SHARE = 0.5
BENIGN_ANSWERS = frozenset(
    {"arena_hard", "caia_constructive", "coconot_pref_responses", "self_instruct_user", "star1_safe",
     "chitchat", "med_safety_bench_safe"}
)  # fmt: skip
SPLICES = 3400
MISMATCHES = 2000
PROMPTLESS_SHARE = 0.08
"""Answers that are shown without what they answer: a sidecar may not know it either."""


@dataclass
class Pool:
    """Flat arrays of all examples, ready for one `.npz` file."""

    ids: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=lambda: [0])
    spans: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    target: list[np.ndarray] = field(default_factory=list)
    weight: list[np.ndarray] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, example: Example, source: str) -> None:
        """Append one conversation with its scored spans."""
        for span in example.spans:
            self.spans.append((len(self.offsets) - 1, span.start, span.end, span.role, span.onset))
            self.target.append(span.target)
            self.weight.append(span.weight)
        self.ids.extend(example.ids)
        self.offsets.append(len(self.ids))
        self.counts[source] += 1

    def save(self, path: Path) -> None:
        """Write the arrays; `spans` columns are example, start, end, role, onset (tokens)."""
        np.savez(
            path,
            ids=np.array(self.ids, dtype=np.int32),
            offsets=np.array(self.offsets, dtype=np.int64),
            spans=np.array(self.spans, dtype=np.int32),
            target=np.stack(self.target).astype(np.float16),
            weight=np.stack(self.weight).astype(np.float16),
        )


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a gzipped JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def read_chitchat(path: Path, rng: random.Random, limit: int) -> Iterator[Row]:
    """Yield exchanges of human small talk as benign answers to benign turns."""
    talks = list(json.loads(path.read_text(encoding="utf-8")).values())
    rng.shuffle(talks)
    done = 0
    for talk in talks:
        turns = [" ".join(m["text"] for m in turn).strip() for turn in talk["messages"]]
        turns = [turn[:400] for turn in turns if turn]
        for at in range(1, min(len(turns), 8), 3):
            yield {"src": "chitchat", "role": "assistant", "lang": "en", "text": turns[at],
                   "prompt": turns[at - 1], "labels": {}, "harm": 0, "lic": "A"}  # fmt: skip
            done += 1
        if done >= limit:
            return


def unreadable(row: Row) -> bool:
    """Whether a row is harmful in a script that the vocabulary hardly covers.

    What cannot be told apart had better stay quiet: of such languages only harmless rows are shown.
    """
    return row["lang"] in UNREADABLE and row["harm"] == 1


def choose(rows: list[Row], rng: random.Random) -> list[Row]:
    """Apply licence tier, hold-out and the cap per source; balance harmful against harmless."""
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        if row["lic"] == "A" and row["harm"] is not None and not held_back(row) and not unreadable(row):
            by_source.setdefault(row["src"], []).append(row)
    chosen: list[Row] = []
    for source, members in sorted(by_source.items()):
        cap = CAPS.get(source, DEFAULT_CAP)
        rng.shuffle(members)
        kept = members
        if len(members) > cap:
            bad = [r for r in members if r["harm"] == 1]
            good = [r for r in members if r["harm"] == 0]
            # The severest rows of a capped source are the rare ones: keep them first.
            bad.sort(key=lambda r: -max(r["labels"].values(), default=0))
            bad = bad[: (cap + 1) // 2]
            kept = bad + good[: cap - len(bad)]
        chosen.extend(kept)
    return chosen


def span_of(row: Row, role: str) -> Span:
    """Targets of one turn; start and end are filled in when the turn is encoded."""
    unknown = list(row.get("unknown", ()))
    if row["src"].startswith("caia_constructive") and row.get("topic") == "mental_distress":
        unknown.append("self_harm")
    if row["src"] == "presidio_synth" and row["harm"]:
        unknown.append("any_harm")  # Someone's address is not by itself a harm.
    target, weight = targets(row["labels"], row["harm"], role, row["src"], unknown)
    return Span(role=0 if role == "user" else 1, target=target, weight=weight)


def build(rows: list[Row], own: list[Row], encoder: Encoder, rng: random.Random) -> Pool:
    """Make the pool: every chosen row as a conversation, then combinations of them."""
    pool = Pool()
    users = {row["text"]: row for row in rows if row["role"] == "user"}
    rows = choose(rows, rng)
    everything = rows + own
    answered = {r.get("prompt") for r in rows if r["role"] == "assistant"}
    good = [r for r in everything if r["src"] in BENIGN_ANSWERS or r["src"] == "generated_everyday"]
    bad = [r for r in everything if r["role"] == "assistant" and r["harm"] == 1
           and max(r["labels"].values(), default=0) >= 2 and r["src"] != "diasafety"]  # fmt: skip
    for row in everything:
        if row["role"] == "user" and row["text"] in answered and row["src"] != "jamjet_pi":
            continue  # It is scored in the conversation that answers it.
        repeats = 2 if row["src"].startswith("written_") else REPEATS.get(row["src"], 1)
        for _ in range(repeats):
            context = rng.choice(good) if rng.random() < 0.2 else None
            pool.add(conversation(row, users, encoder, rng, context), row["src"])
    for row in echoes(rows, rng, 1600):
        asked = row | {"prompt": rng.choice(good).get("prompt")}
        pool.add(conversation(asked, {}, encoder, rng, None), "echoes")
    for number in range(SPLICES):
        first = rng.choice(good)
        second = rng.choice(bad) if number % 17 < 12 else rng.choice(good)
        asker = second if rng.random() < 0.75 else first
        pool.add(splice(first, second, asker, encoder, rng), "splices")
    for row in mismatches(good, bad, rng, MISMATCHES):
        pool.add(conversation(row, users, encoder, rng, None), "mismatches")
    return pool


def mismatches(good: list[Row], bad: list[Row], rng: random.Random, count: int) -> Iterator[Row]:
    """A harmless answer to somebody's harmful request, a harmful one to an innocent question.

    The answer is judged by what it says; the request only says what to look for.
    """
    for number in range(count):
        answer, asker = (
            (rng.choice(good), rng.choice(bad)) if number % 3 else (rng.choice(bad), rng.choice(good))
        )
        row = {key: value for key, value in answer.items() if key not in {"before", "user"}}
        yield row | {"prompt": asker.get("prompt"), "src": answer["src"], "unjudged": True}


def echoes(rows: list[Row], rng: random.Random, count: int) -> list[Row]:
    """Hateful user texts and their neutral neighbours, put into the assistant's mouth.

    Sets of answers hold little outright hate; what is hateful does not depend on who says it.
    """
    names = {"toxigen_prompts", "hatemoji_build", "edos", "safenlp", "davidson_hate"}
    picked = [r for r in rows if r["src"] in names
              and ((r["harm"] == 0 and not r["labels"]) or max(r["labels"].values(), default=0) >= 2)]  # fmt: skip
    return [r | {"role": "assistant"} for r in rng.sample(picked, min(count, len(picked)))]


def conversation(
    row: Row, users: dict[str, Row], encoder: Encoder, rng: random.Random, context: Row | None
) -> Example:
    """One row with what came before it; turns whose labels are known are scored."""
    example = encoder.start(rng)
    long = rng.random() < 0.12
    if context is not None and context.get("prompt"):
        encoder.turn(example, "user", context["prompt"], 48)
        encoder.turn(example, "assistant", context["text"], 64)
    for speaker, said in row.get("before", ())[-2:]:
        encoder.turn(example, speaker, said, 56)
    if row["role"] == "user":
        if row.get("prompt"):
            before = "system" if row["src"] == "cyberseceval_pi" else "assistant"
            encoder.turn(example, before, row["prompt"], 48)
        encoder.turn(example, "user", row["text"], 256 if long else 112, span_of(row, "user"))
        return example
    if row.get("prompt") and rng.random() >= PROMPTLESS_SHARE:
        span = None if row.get("unjudged") else asked_span(row, users)
        encoder.turn(example, "user", row["prompt"], 256 if long else 72, span)
    span = span_of(row, "assistant")
    span.onset = onset_token(encoder, row)
    # A stream is judged at its worst token, so good answers have to stay low for as long as they are.
    long = long or (row["harm"] == 0 and rng.random() < 0.6)
    encoder.turn(example, "assistant", row["text"], 360 if long else 120, span)
    return example


def asked_span(row: Row, users: dict[str, Row]) -> Span | None:
    """Targets of the turn that `row` answers; None where nobody judged it."""
    asked = users.get(row["prompt"])
    if asked is not None:
        return span_of(asked, "user")
    if "user" in row:
        harm = int(any(v > 1 for c, v in row["user"].items() if c != "mental_distress"))
        return span_of(row | {"labels": row["user"], "harm": harm}, "user")
    if row["src"] in BENIGN_ANSWERS and row["src"] not in {"star1_safe", "med_safety_bench_safe"}:
        return span_of(row | {"labels": {}, "harm": 0}, "user")
    return None


def splice(first: Row, second: Row, asker: Row, encoder: Encoder, rng: random.Random) -> Example:
    """A benign opening followed by `second` from its own onset; the onset is where the opening ends."""
    opening = first["text"][: rng.randint(40, 320)]
    opening = opening[: max(opening.rfind(". "), opening.rfind("\n"), 20) + 1].rstrip()
    said = second["text"][second.get("onset", 0) :].lstrip()
    joined = opening + rng.choice((" ", "\n\n", " ", "\n")) + said[:700]
    example = encoder.start(rng)
    if asker.get("prompt"):
        encoder.turn(example, "user", asker["prompt"], 72)
    span = span_of(second, "assistant")
    if second["harm"] == 1:
        span.onset = len(encoder.pieces(opening))
    encoder.turn(example, "assistant", joined, 160, span)
    return example


def main() -> None:
    """Build the pool from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of train.jsonl.gz")
    parser.add_argument("--chitchat", type=Path, required=True, help="its dataset.json")
    parser.add_argument("--encoder", type=Path, required=True, help="all-MiniLM-L6-v2 directory")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    rows = list(reread(judged(read_rows(args.data / "train.jsonl.gz"))))
    rows += list(answered(rows))
    rows += read_chitchat(args.chitchat, rng, SMALL_TALK_ROWS)
    said = list(own_words(args.seed))
    own = [row for row in written() if not held_back(row)]
    own += [*generate(args.seed, GENERATED_SCALE), *said[: int(len(said) * OWN_WORDS_SHARE)]]
    pool = build(rows, own, Encoder.load(args.encoder), rng)
    pool.save(args.output)
    counts = dict(sorted(pool.counts.items()))
    args.output.with_suffix(".json").write_text(json.dumps(counts, indent=1), encoding="utf-8")
    print(f"{len(pool.offsets) - 1} conversations, {len(pool.ids)} tokens")


if __name__ == "__main__":
    main()
