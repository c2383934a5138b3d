"""Seeded generator of this project's own training text: pairs that public sets lack.

Every template is filled at random and then roughened (case, punctuation, spelling), so that the
classifier cannot lean on a template's form. Harmful answers come with a constructive answer to the
same request, disclosures with look-alikes.

Run `python -m classifiers.default.generated --output rows.jsonl` to read what it writes.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classifiers.default import phrases_assistant as said
from classifiers.default import phrases_everyday as daily
from classifiers.default import phrases_user as asked

Row = dict[str, Any]
"""The keys of the data sets: src, role, lang, text, prompt, labels, harm; `user` labels the prompt."""

BENIGN: dict[str, int] = {}

# Twice in the list: twice as often.
LOOKALIKES = (
    asked.FIGURES,
    asked.FIGURES,
    asked.HYPERBOLE,
    asked.HYPERBOLE,
    asked.FICTION,
    asked.TECH_QUESTIONS,
    asked.SAFETY_QUESTIONS,
    asked.BENIGN_DISTRESS,
    asked.INSTRUCTION_LOOKALIKES,
)


def _rough(rng: random.Random, text: str) -> str:
    """People write in several ways: capitals, no apostrophes, typos, no full stop."""
    style = rng.random()
    if style < 0.35:
        parts = text.split(". ")
        text = ". ".join(part[:1].upper() + part[1:] for part in parts)
        text = text.replace(" i ", " I ").replace(" i'", " I'")
    elif style < 0.5:
        text = text.replace("'", "")
    elif style < 0.58 and len(text) > 12:
        at = rng.randrange(3, len(text) - 3)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    elif style < 0.62:
        text = text.upper()
    return text.strip()


def _user(text: str, labels: dict[str, int], kind: str) -> Row:
    harm = int(any(v >= 2 for c, v in labels.items() if c != "mental_distress"))
    return {"src": f"generated_{kind}", "role": "user", "lang": "en", "text": text, "prompt": None,
            "labels": labels, "harm": harm}  # fmt: skip


def _answer(prompt: str, user: dict[str, int], text: str, labels: dict[str, int], kind: str) -> Row:
    return {"src": f"generated_{kind}", "role": "assistant", "lang": "en", "text": text, "prompt": prompt,
            "labels": labels, "harm": int(bool(labels)), "user": user}  # fmt: skip


def _disclosure(rng: random.Random) -> tuple[str, dict[str, int]]:
    kind = rng.choices(("distress", "ideation", "acute"), (4, 4, 2))[0]
    bank = {
        "distress": rng.choice((asked.DISTRESS, asked.GRIEF)),
        "ideation": asked.IDEATION,
        "acute": asked.ACUTE,
    }[kind]
    labels = {
        "distress": {"mental_distress": 1},
        "ideation": {"self_harm": 2, "mental_distress": 2},
        "acute": {"self_harm": 3, "mental_distress": 3},
    }[kind]
    body = rng.choice(bank)
    if kind == "ideation" and rng.random() < 0.2:
        body = f"{rng.choice(asked.PASSIVE_STARTS)} {rng.choice(asked.PASSIVE_ENDS)}"
    reason = rng.choice(asked.REASONS)
    if reason:
        body = f"{reason}, {body}" if rng.random() < 0.4 else f"{body} {reason}"
    if rng.random() < 0.3:
        extra = rng.choice(asked.DISTRESS)
        body = f"{extra} and {body}" if rng.random() < 0.5 else f"{extra}. {body}"
    if rng.random() < 0.15:
        # The disclosure comes after something ordinary.
        body = f"{_everyday(rng)[0]} also, {body}"
    return _rough(rng, f"{rng.choice(asked.OPENERS)}{body}. {rng.choice(asked.CLOSERS)}"), labels


def _support(rng: random.Random) -> str:
    parts = [rng.choice(said.SUPPORT_OPENERS), *rng.sample(said.SUPPORT_MIDDLES, rng.randint(1, 3))]
    parts += [rng.choice(said.SUPPORT_HELP) + " "] * (rng.random() < 0.85)
    parts += [rng.choice(said.SUPPORT_MIDDLES)] * (rng.random() < 0.3)
    return "".join(parts).strip()


def _fill(rng: random.Random, template: str, slots: dict[str, str]) -> str:
    for name, bank in daily.THINGS.items():
        if "{" + name + "}" in template:
            slots.setdefault(name, rng.choice(bank))
            template = template.replace("{" + name + "}", slots[name])
    return template


def _everyday(rng: random.Random) -> tuple[str, str]:
    question, answer = rng.choice(daily.EXCHANGES if rng.random() < 0.5 else daily.RISKY_TOPICS)
    # The same answer comes in many cuts, so that it is not learnt by heart.
    sentences = answer.split(". ")
    if len(sentences) > 3 and rng.random() < 0.7:
        sentences = sentences[rng.randint(0, 1) :]
        sentences.pop(rng.randrange(1, len(sentences)))
    answer = ". ".join(sentences)
    slots: dict[str, str] = {}
    question, answer = _fill(rng, question, slots), _fill(rng, answer, slots)
    return question, answer[:1].upper() + answer[1:]


def _process(rng: random.Random) -> tuple[str, str]:
    lead = rng.choice(("how do i ", "how to ", "how can i ", "what's the best way to ", "command to "))
    question = (
        f"{lead}{rng.choice(asked.TECH_VERBS)} {rng.choice(asked.TECH_OBJECTS)}{rng.choice(asked.TECH_TAILS)}"
    )
    return question, " ".join(rng.sample(daily.PROCESS_ANSWERS, rng.randint(1, 2)))


def _lookalike(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return _rough(rng, _process(rng)[0])
    bank = rng.choice(LOOKALIKES)
    text = rng.choice(bank)
    if bank is asked.HYPERBOLE and rng.random() < 0.5:
        text = rng.choice(asked.MILD_DEATHS).format(cause=rng.choice(asked.MILD_CAUSES))
        if rng.random() < 0.4:
            text = f"{rng.choice(asked.BENIGN_DISTRESS)} {text}"
    if rng.random() < 0.25:
        text = f"{rng.choice(asked.OPENERS)}{text}"
    return _rough(rng, text)


def _yours(act: str) -> str:
    """The same act, as the assistant says it to the user."""
    return f" {act} ".replace(" my ", " your ").strip()


def _comply(rng: random.Random, category: str, act: str) -> str:
    steps = rng.sample(said.COMPLY_STEPS["any"], rng.randint(1, 3))
    own = said.COMPLY_STEPS[category]
    steps += rng.sample(own, rng.randint(1, min(3, len(own))))
    rng.shuffle(steps)
    if rng.random() < 0.4:
        steps = [f"{n}. {step.strip()}\n" for n, step in enumerate(steps, 1)]
    return (rng.choice(said.COMPLY_OPENERS).format(act=_yours(act)) + "".join(steps)).strip()


def _refuse(rng: random.Random, act: str) -> str:
    text = rng.choice(said.REFUSE_OPENERS).format(act=_yours(act)) + rng.choice(said.REFUSE_REASONS)
    return text + " ".join(rng.sample(said.REFUSE_OFFERS, rng.randint(1, 2)))


def _harmful_pair(rng: random.Random) -> Iterator[Row]:
    category = rng.choice(tuple(said.HARMFUL_ACTS))
    act = rng.choice(said.HARMFUL_ACTS[category])
    labels = {category: 3 if category in {"weapons_cbrn", "self_harm"} else 2}
    user = dict(labels)
    ask = _rough(rng, rng.choice(said.REQUESTS).format(act=act))
    yield _answer(ask, user, _comply(rng, category, act), labels, "comply")
    good = _support(rng) if category == "self_harm" else _refuse(rng, act)
    yield _answer(ask, user, good, BENIGN, "constructive")


def _turnaround(rng: random.Random) -> Row:
    """An answer that opens with a refusal and complies after all; the onset is where it turns."""
    category = rng.choice(tuple(said.HARMFUL_ACTS))
    act = rng.choice(said.HARMFUL_ACTS[category])
    ask = _rough(rng, rng.choice(said.REQUESTS).format(act=act))
    opening = _refuse(rng, act) + rng.choice((" That said, ", " But fine. ", " However, ", "\n\n"))
    row = _answer(ask, {category: 2}, opening + _comply(rng, category, act), {category: 2}, "turnaround")
    row["onset"] = len(opening)
    return row


def generate(seed: int, scale: float = 1.0) -> Iterator[Row]:
    """Yield about 9,000 rows at `scale` 1; the same seed gives the same rows."""
    rng = random.Random(seed)

    def times(count: int) -> range:
        return range(round(count * scale))

    for _ in times(1500):
        text, labels = _disclosure(rng)
        yield _user(text, labels, "disclosure")
    for _ in times(150):
        row = _user(_rough(rng, rng.choice(asked.THIRD_PARTY)), {"mental_distress": 1}, "third_party")
        yield row | {"unknown": ["self_harm"]}
    for _ in times(1500):
        yield _user(_lookalike(rng), BENIGN, "lookalike")
    for _ in times(300):
        text = rng.choice(asked.INJECTIONS).format(goal=rng.choice(asked.INJECTION_GOALS))
        if rng.random() < 0.3:
            text = f"{_everyday(rng)[0]} {text}"
        yield _user(_rough(rng, text), {"injection_jailbreak": 2}, "injection")
    for _ in times(800):
        text, labels = _disclosure(rng)
        good = _support(rng)
        if "self_harm" not in labels:
            good = "".join(rng.sample(said.COMFORT, rng.randint(2, 4))).strip()
        yield _answer(text, labels, good, BENIGN, "support")
    for _ in times(500):
        # An insert can stand after any text, also where nothing called for it.
        question, answer = _everyday(rng)
        yield _answer(question, BENIGN, f"{answer}\n\n{_support(rng)}", BENIGN, "insert")
    for _ in times(1800):
        question, answer = _everyday(rng) if rng.random() < 0.8 else _process(rng)
        yield _answer(_rough(rng, question), BENIGN, answer, BENIGN, "everyday")
    for _ in times(1000):
        yield from _harmful_pair(rng)
    for _ in times(300):
        yield _turnaround(rng)


def main() -> None:
    """Write the rows as JSON lines, for review."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with args.output.open("w", encoding="utf-8") as out:
        for row in generate(args.seed):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
