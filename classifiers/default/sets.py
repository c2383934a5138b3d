"""The conversations that a trained classifier is calibrated and measured on; none was trained on.

They are the development file, the benign rows held back from training sources, splices with a known
onset, and generated rows of another seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifiers.default.conversation import Encoder, Example, Span, held_back
from classifiers.default.data import SMALL_TALK_ROWS, read_chitchat, read_rows
from classifiers.default.generated import generate
from classifiers.default.own_words import own_words

Row = dict[str, Any]

PROMPT_TOKENS = 120
TEXT_TOKENS = 360
UNSEEN_SEED = 977
ANSWERING = 300
"""Own words that are also scored after a risky turn."""

ORDINARY = frozenset({"arena_hard", "self_instruct_user", "chitchat"})
"""Held-back ordinary answers; their prompts are ordinary user turns."""
CONSTRUCTIVE = frozenset({"caia_constructive", "star1_safe", "esconv", "coconot_pref_responses"})
"""Good answers on risky topics, and counselling."""


@dataclass
class Case:
    """One scored turn: where it comes from, what it is labelled, and its conversation."""

    group: str
    """dev, ordinary, constructive, splice or generated"""
    source: str
    role: str
    lang: str
    harm: int | None
    labels: dict[str, int]
    example: Example
    onset: int = -1
    """Tokens before the text turns harmful, where that is known."""


def case(row: Row, group: str, encoder: Encoder) -> Case:
    """The turn of `row`, given its prompt."""
    example = encoder.start()
    if row.get("prompt"):
        before = "user" if row["role"] == "assistant" else "assistant"
        encoder.turn(example, before, row["prompt"], PROMPT_TOKENS)
    span = Span(0 if row["role"] == "user" else 1)
    encoder.turn(example, row["role"], row["text"], TEXT_TOKENS, span)
    return Case(group, row["src"], row["role"], row["lang"], row["harm"], dict(row["labels"]), example)


def _held_back(data: Path, chitchat: Path) -> list[Row]:
    rows = [r for r in read_rows(data / "train.jsonl.gz") if held_back(r)]
    small_talk = read_chitchat(chitchat, random.Random(1), SMALL_TALK_ROWS)
    return rows + [r for r in small_talk if held_back(r)]


def _splices(
    openings: list[Row], harmful: list[Row], encoder: Encoder, rng: random.Random, count: int
) -> Iterator[Case]:
    """Benign openings of held-back answers, spliced to harmful answers of the development file."""
    for _ in range(count):
        first, second = rng.choice(openings), rng.choice(harmful)
        opening = first["text"][: rng.randint(60, 300)]
        opening = opening[: max(opening.rfind(". "), opening.rfind("\n"), 20) + 1].rstrip()
        row = second | {"src": "splices", "text": f"{opening} {second['text']}"}
        made = case(row, "splice", encoder)
        made.onset = len(encoder.pieces(opening))
        yield made


def cases(data: Path, chitchat: Path, encoder: Encoder, fraction: float) -> list[Case]:
    """All cases; `fraction` below 1 takes a seeded sample of each source."""
    rng = random.Random(5)
    caps = {"beavertails_test": 3010, "saferlhf_test": 1629, "esconv": 1000, "chitchat": 700}
    dev: dict[str, list[Row]] = {}
    for row in read_rows(data / "dev.jsonl.gz"):
        dev.setdefault(row["src"], []).append(row)
    out: list[Case] = []
    kept: dict[str, list[Row]] = {}
    for row in _held_back(data, chitchat):
        kept.setdefault(row["src"], []).append(row)
    for group, sources in (("dev", dev), ("kept", kept)):
        for source, rows in sorted(sources.items()):
            rng.shuffle(rows)
            limit = max(20, int(fraction * min(len(rows), caps.get(source, 600))))
            for row in rows[:limit]:
                name = group
                if source in ORDINARY or source == "arena_hard_prompts":
                    name = "ordinary"
                elif source in CONSTRUCTIVE:
                    name = "constructive"
                out.append(case(row, name, encoder))
                if source in ORDINARY and source != "arena_hard":
                    asked = {"role": "user", "text": row["prompt"], "prompt": None, "labels": {}}
                    out.append(case(row | asked, "ordinary", encoder))
    sources_of_harm = ("beavertails_test", "saferlhf_test", "gptfuzz_responses")
    harmful = [r for s in sources_of_harm for r in dev[s] if r["harm"] == 1]
    openings = [r for s in ("arena_hard", "self_instruct_user") for r in kept[s]]
    out.extend(_splices(openings, harmful, encoder, rng, int(400 * fraction)))
    risky: list[str] = []
    for row in generate(UNSEEN_SEED, 0.12 * fraction):
        out.append(case(row, "generated", encoder))
        if row.get("user") or row["src"] == "generated_disclosure":
            risky.append(row["prompt"] or row["text"])
        if row.get("user"):
            asked = {"role": "user", "text": row["prompt"], "prompt": None, "labels": row["user"]}
            out.append(case(row | asked | {"harm": None}, "generated", encoder))
    return out + own_cases(encoder, risky, rng, fraction)


def own_cases(encoder: Encoder, risky: list[str], rng: random.Random, fraction: float) -> list[Case]:
    """Everything the composer can say, by itself; and some of it as the answer to a risky turn.

    Training knows these texts: what counts is that the ones we say stay without a finding.
    """
    words = list(own_words(UNSEEN_SEED))
    out = [case(row, "generated", encoder) for row in words[: int(len(words) * fraction)]]
    for row in words[: int(ANSWERING * fraction)]:
        answering = {"prompt": rng.choice(risky), "src": "own_words_answering"}
        out.append(case(row | answering, "generated", encoder))
    return out
