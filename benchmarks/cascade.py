"""What does a gate before the default pack save, and what does it hide?

The gate is a word list of the simplest kind: a word scores the share of risky texts among those that hold it,
learned from some of this project's generated texts. Measured on others, with three thresholds of the gate,
against the pack alone:

* ``time``: seconds of CPU over the pack's alone, for benign and risky texts, and for traffic of which
  one text in twenty is risky.
* ``asked``: share of the texts for which the pack was asked at all.
* ``hidden``: share of the texts in which the pack alone finds something and the cascade finds nothing; of
  benign texts those are false alarms that the gate spares.

The generated texts share templates, so a list does better here than on real traffic: the saving is an upper
bound, what is hidden a lower one.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.answer import Answer
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

_THRESHOLDS = (0.95, 0.9, 0.8)
_TEXTS = 120  # of each kind
_RISKY_SHARE = 0.05
_WORD = re.compile(r"[^\W\d_]+")


async def measure(*, full: bool) -> Answer:
    """Ratios, by the threshold of the gate."""
    policy, _ = load_checked_policy(None)
    gate = KeywordScorer({word: {"any_harm": score} for word, score in _words(generate(seed=1, scale=0.5))})
    benign, risky = _split(generate(seed=2, scale=0.2))
    pack = load_scorer("default", "cpu", intra_op_threads=1)
    try:
        await _run(pack, policy, benign[:20])  # warm
        alone = {"benign": await _run(pack, policy, benign), "risky": await _run(pack, policy, risky)}
        results: dict[str, object] = {}
        for threshold in _THRESHOLDS:
            cascade = Cascade(gate, pack, Gate(threshold=threshold))
            gated = {
                kind: await _run(cascade, policy, {"benign": benign, "risky": risky}[kind]) for kind in alone
            }
            results[f"threshold {threshold}"] = _compared(alone, gated)
    finally:
        pack.close()
    found = {kind: sum(run["found"]) for kind, run in alone.items()}
    return Answer(
        (),
        {
            "texts": {"benign": len(benign), "risky": len(risky)},
            "found by the pack alone": found,
            **results,
        },
    )


def _words(rows: Iterable[Row]) -> Iterator[tuple[str, float]]:
    """Each word with the share of risky texts among those that hold it, were there as many of either kind."""
    seen: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    texts: Counter[bool] = Counter()
    for row in rows:
        harmful = bool(row["labels"])
        texts[harmful] += 1
        seen[harmful].update(set(_WORD.findall(row["text"].lower())))
    for word in seen[True]:
        # Two texts of either kind beforehand: a rare word proves little.
        risky = (seen[True][word] + 2) / texts[True]
        benign = (seen[False][word] + 2) / texts[False]
        yield word, risky / (risky + benign)


def _split(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    rows = list(rows)
    step = {
        kind: max(1, sum(bool(row["labels"]) is kind for row in rows) // _TEXTS) for kind in (False, True)
    }
    benign, risky = ([row for row in rows if bool(row["labels"]) is kind] for kind in (False, True))
    return benign[:: step[False]][:_TEXTS], risky[:: step[True]][:_TEXTS]


async def _run(scorer: Scorer, policy: Policy, rows: Sequence[Row]) -> dict[str, Any]:
    found, asked = [], 0
    began = time.process_time()
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
    return {"seconds": time.process_time() - began, "found": found, "asked": asked / len(rows)}


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
