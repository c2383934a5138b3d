"""The trained pack, end to end: the same scores whatever the cuts, the company and the framework."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from guardrail.core.verdicts import Role
from guardrail.engine.loading import load_scorer

# Golden scores come from the training framework in full precision; the shipped network computes in integers. The
# same number stands where they are written; measured differences are below 0.035.
GOLDEN_TOLERANCE = 0.05
GOLDEN = Path(__file__).resolve().parents[2] / "classifiers" / "default" / "golden.jsonl"

PROMPT = "My neighbour keeps parking in front of my garage. What can I do about it, calmly?"
ANSWER = (
    "Start with a friendly word: many people don't notice that they block a drive. If that fails, write "
    "a short note, take a photo with the date, and ask the town's office which rules apply. Café owners "
    "nearby (they see everything!) may help 😀. "
)


@pytest.fixture(scope="module")
def scorer(real_pack_directory):
    scorer = load_scorer(real_pack_directory, "cpu", intra_op_threads=1)
    yield scorer
    scorer.close()


def words(text):
    pieces = text.split(" ")
    return [pieces[0], *(f" {piece}" for piece in pieces[1:])]


async def score(scorer, pieces, *, prompt=PROMPT):
    lane = scorer.open()
    lane.begin_turn(Role.USER)
    await lane.extend(prompt)
    lane.begin_turn(Role.ASSISTANT)
    scores = []
    for piece in pieces:
        scores += await lane.extend(piece)
    lane.close()
    return scores


async def test_word_by_word_is_the_whole(scorer):
    assert await score(scorer, words(ANSWER)) == await score(scorer, [ANSWER])


async def test_more_than_a_thousand_tokens_are_the_same_however_cut(scorer):
    text = ANSWER * 19
    whole = await score(scorer, [text])

    assert len(whole) > 1000
    pieces = words(text)
    in_sevens = ["".join(pieces[start : start + 7]) for start in range(0, len(pieces), 7)]
    in_nineties = ["".join(pieces[start : start + 90]) for start in range(0, len(pieces), 90)]
    for cut in (in_sevens, in_nineties):
        assert await score(scorer, cut) == whole


async def test_alone_is_the_same_as_in_a_batch(scorer):
    """invariant 11: a score does not depend on its neighbours in the batch not in a bit of it."""
    prompts = ["Hi.", PROMPT, PROMPT * 3, "Tell me a story about the sea and a small boat. " * 4]
    alone = [await score(scorer, words(ANSWER), prompt=prompt) for prompt in prompts]
    steps = scorer.runner.counts.steps
    together = await asyncio.gather(*(score(scorer, words(ANSWER), prompt=prompt) for prompt in prompts))

    for got, expected in zip(together, alone, strict=True):
        assert got == expected
    # They did share steps.
    assert scorer.runner.counts.steps - steps < len(prompts) * len(words(ANSWER))


async def test_a_fork_is_the_same_as_a_fresh_conversation(scorer):
    lane = scorer.open()
    lane.begin_turn(Role.USER)
    await lane.extend(PROMPT)
    lane.begin_turn(Role.ASSISTANT)
    fork = lane.fork()
    await lane.extend("Something else altogether, and rather long, goes first.")

    assert await fork.extend(ANSWER) == await score(scorer, [ANSWER])


async def test_a_tentative_word_leaves_no_trace(scorer):
    lane = scorer.open()
    lane.begin_turn(Role.USER)
    await lane.extend(PROMPT)
    lane.begin_turn(Role.ASSISTANT)
    scores = []
    for word in words(ANSWER):
        await lane.extend(word + "xy", tentative=True)
        scores += await lane.extend(word)

    assert scores == await score(scorer, [ANSWER])


async def test_scores_agree_with_the_training_framework(scorer, real_pack_directory):
    shipped = GOLDEN.parents[1] / "packs" / "default"
    if not GOLDEN.is_file() or real_pack_directory.resolve() != shipped.resolve():
        pytest.skip("there is no golden file for this pack")
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        case = json.loads(line)
        lane = scorer.open()
        scores = []
        for index, turn in enumerate(case["turns"]):
            lane.begin_turn(Role(turn["role"]))
            got = await lane.extend(turn["text"])
            if index == case["scored_turn"]:
                scores = got
        lane.close()
        highest = {name: max(token.scores[name] for token in scores) for name in scorer.categories}
        assert highest == pytest.approx(case["max"], abs=GOLDEN_TOLERANCE), case["turns"]
        assert dict(scores[-1].scores) == pytest.approx(case["last"], abs=GOLDEN_TOLERANCE), case["turns"]
