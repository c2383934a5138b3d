"""What does a gate before the default pack save, and what does it hide?

The gate is a word list of the simplest kind: the words that speak most for a risky text in one half of this
project's generated texts. Measured on the other half, with lists of three lengths, against the pack alone:

* ``time``: seconds of scoring over the pack's alone, for benign and risky texts, and for traffic of which
  one text in twenty is risky.
* ``asked``: share of the texts for which the pack was asked at all.
* ``hidden``: share of the texts in which the pack alone finds something and the cascade finds nothing; of
  benign texts those are false alarms that the gate spares.

The generated texts share templates, so a list does better here than on real traffic: the saving is an upper
bound, what is hidden a lower one.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from classifiers.default.generated import Row, generate
from guardrail.app.wiring import load_checked_policy
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.cascade import Cascade, Gate
from guardrail.engine.loading import load_scorer
from guardrail.engine.scorer import Scorer
from guardrail.policy.judge import LaneJudge
from guardrail.policy.prompt import judge_turn
from guardrail.policy.rules import Policy
from guardrail.testing.scorers import KeywordScorer

_LIST_LENGTHS = (50, 200, 800)
_TEXTS = 120  # of each kind
_RISKY_SHARE = 0.05
_WORD = re.compile(r"[^\W\d_]+")


async def measure() -> dict[str, object]:
    """Ratios, by the length of the list."""
    policy, _ = load_checked_policy(None)
    words = _telling_words(generate(seed=1, scale=0.5))
    benign, risky = _split(generate(seed=2, scale=0.2))
    pack = load_scorer("default", "cpu", intra_op_threads=1)
    try:
        await _run(pack, policy, benign[:20])  # warm
        alone = {"benign": await _run(pack, policy, benign), "risky": await _run(pack, policy, risky)}
        results: dict[str, object] = {}
        for length in _LIST_LENGTHS:
            gate = KeywordScorer({word: {"any_harm": 1.0} for word in words[:length]})
            cascade = Cascade(gate, pack, Gate(threshold=0.5))
            gated = {
                kind: await _run(cascade, policy, {"benign": benign, "risky": risky}[kind]) for kind in alone
            }
            results[f"{length} words"] = _compared(alone, gated)
    finally:
        pack.close()
    found = {kind: sum(run["found"]) for kind, run in alone.items()}
    return {
        "texts": {"benign": len(benign), "risky": len(risky)},
        "found by the pack alone": found,
        **results,
    }


def _telling_words(rows: Iterable[Row]) -> list[str]:
    """Words of benign and risky texts, those first that speak most for a risky one."""
    seen: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    texts: Counter[bool] = Counter()
    for row in rows:
        harmful = bool(row["labels"])
        texts[harmful] += 1
        seen[harmful].update(set(_WORD.findall(row["text"].lower())))

    def says(word: str) -> float:
        risky = (seen[True][word] + 0.5) / texts[True]
        benign = (seen[False][word] + 0.5) / texts[False]
        return risky * math.log(risky / benign)

    return sorted(seen[True], key=says, reverse=True)


def _split(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    rows = list(rows)
    step = {
        kind: max(1, sum(bool(row["labels"]) is kind for row in rows) // _TEXTS) for kind in (False, True)
    }
    benign, risky = ([row for row in rows if bool(row["labels"]) is kind] for kind in (False, True))
    return benign[:: step[False]][:_TEXTS], risky[:: step[True]][:_TEXTS]


async def _run(scorer: Scorer, policy: Policy, rows: Sequence[Row]) -> dict[str, Any]:
    found, asked = [], 0
    began = time.perf_counter()
    for row in rows:
        before = getattr(scorer, "lanes_opened", 0)
        lane = scorer.open()
        if row["prompt"]:
            lane.begin_turn(Role.USER)
            await lane.extend(row["prompt"])
        lane.begin_turn(Role(row["role"]))
        found.append(_finds(policy, row, await lane.extend(row["text"])))
        lane.close()
        asked += getattr(scorer, "lanes_opened", 1) > before
    return {"seconds": time.perf_counter() - began, "found": found, "asked": asked / len(rows)}


def _finds(policy: Policy, row: Row, tokens: Sequence[TokenScore]) -> bool:
    role = Role(row["role"])
    judge = LaneJudge(policy, role)
    if role is Role.USER:
        return any(verdict.findings for verdict in judge_turn(judge, row["text"], tokens))
    return any(verdict.findings for verdict in [*map(judge.judge, tokens), judge.finish()])


def _compared(alone: Mapping[str, Any], gated: Mapping[str, Any]) -> dict[str, object]:
    def mixed(runs: Mapping[str, Any]) -> float:
        return (1 - _RISKY_SHARE) * float(runs["benign"]["seconds"]) + _RISKY_SHARE * float(
            runs["risky"]["seconds"]
        )

    time_ = {kind: round(gated[kind]["seconds"] / alone[kind]["seconds"], 3) for kind in alone}
    hidden = {
        kind: round(
            sum(a and not g for a, g in zip(alone[kind]["found"], gated[kind]["found"], strict=True))
            / max(1, sum(alone[kind]["found"])),
            3,
        )
        for kind in alone
    }
    return {
        "time": {**time_, "one in twenty risky": round(mixed(gated) / mixed(alone), 3)},
        "asked": {kind: round(gated[kind]["asked"], 3) for kind in alone},
        "hidden": hidden,
    }
