"""Twice the streams that the engine can carry: what becomes of each of them, and of those that come after.

The engine is the real one, tokenizer to network, held to a rate that any machine reaches, so that twice the
load is twice the load everywhere. Nothing here depends on when what happened: only on what did.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest

from benchmarks.overload import hold
from guardrail import observer as records
from guardrail.engine.loading import load_scorer
from guardrail.policy.rules import CategoryRules, RoleRules, Timing
from guardrail.testing.upstream import DONE, Answer, chat_stream
from tests.e2e.http_client import ask, fetch, finishes, texts
from tests.e2e.stage import FAILED, eventually, policy, staged

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

TOKENS_PER_S = 300.0
STREAMS = 12
WORDS_PER_CHUNK, CHUNKS, PACE_S = 5, 24, 0.1  # 50 words a second and stream, twice what is carried
SENTENCE = ["the", "old", "river", "walks", "past", "the", "mill", "and", "the", "boats", "go", "home"]
PIECES = [
    "".join(f" {SENTENCE[i % len(SENTENCE)]}" for i in range(n * WORDS_PER_CHUNK, (n + 1) * WORDS_PER_CHUNK))
    for n in range(CHUNKS)
]
TEXT = "".join(PIECES)
TIMING = Timing(open_word_deadline_ms=0, scoring_deadline_ms=400, abandon_ms=1500)
NOTHING = {
    "violence": CategoryRules(assistant=RoleRules(thresholds={3: 1.0}, interventions={3: "replace"})),
}


@contextlib.asynccontextmanager
async def limited(stance):
    """A whole path over an engine with a limit."""
    engine = load_scorer("default", "cpu", intra_op_threads=1, max_wait_s=TIMING.engine_wait_s)
    hold(engine, TOKENS_PER_S)
    under = policy(on_overload=stance, timing=TIMING, categories=NOTHING)
    try:
        async with staged(under, engine) as stage:
            yield stage, engine.runner
    finally:
        await asyncio.to_thread(engine.close)


def paced():
    script: list[bytes | float] = []
    for event in chat_stream(PIECES):
        script += [event, PACE_S]
    return Answer(script)


def ended(stage):
    """Each stream's account and the code points of its answer that were scored."""
    scored: Counter[str] = Counter()
    for record in stage.ledger.all(records.SegmentScored):
        if record.lane != "user":
            scored[record.stream_id] += record.chars
    return [(account, scored[account.stream_id]) for account in stage.ledger.all(records.StreamEnded)]


async def scanned_as_ever(stage):
    """Whether two new streams come through whole, every character of them scored in time."""
    stage.reset()
    stage.upstream.answer = paced()
    responses = await asyncio.gather(*(fetch(stage.address, ask()) for _ in range(2)))
    await eventually(lambda: len(stage.ledger.all(records.StreamEnded)) == 2)
    if stage.ledger.all(records.ScoringFailed):
        return False
    assert [texts(response.body)[0] for response in responses] == [TEXT] * 2
    assert [(account.unscanned, scored) for account, scored in ended(stage)] == [({}, len(TEXT))] * 2
    return True


@pytest.mark.parametrize("stance", ["pass", "hold", "redirect"])
async def test_twice_the_streams_the_engine_can_carry(stance):
    async with limited(stance) as (stage, runner):
        stage.upstream.answer = paced()
        responses = await asyncio.gather(*(fetch(stage.address, ask()) for _ in range(STREAMS)))

        await eventually(lambda: len(stage.ledger.all(records.StreamEnded)) == STREAMS)
        for response in responses:  # invariant 5: each ends once, as its protocol says
            assert response.complete
            assert response.body.endswith(DONE)
            assert response.body.count(DONE) == 1
            assert finishes(response.body) == {0: ["stop"]}
        for account, scored in ended(stage):  # invariant 7: nothing unscanned is unsaid
            said = account.unscanned.get("overload", 0) + account.unscanned.get("late", 0)
            assert account.released_chars <= scored + said
            assert account.arrived_chars == account.released_chars + account.withheld_chars
        failures = stage.ledger.all(records.ScoringFailed)
        assert {failure.stance for failure in failures} == {stance}
        assert {failure.reason for failure in failures} <= {"late", "overload"}
        shown = [texts(response.body)[0] for response in responses]
        if stance == "pass":
            assert shown == [TEXT] * STREAMS
            assert sum(sum(account.unscanned.values()) for account, _ in ended(stage)) > 0
        else:
            cut = [text for text in shown if text != TEXT]
            assert cut
            assert all(text.endswith(FAILED) for text in cut)
            assert all(TEXT.startswith(text.removesuffix(FAILED).rstrip("\n…")) for text in cut)
            assert not [account for account, _ in ended(stage) if "overload" in account.unscanned]

        # The load is gone: nothing is left of it, and whoever comes now is scanned as ever.
        await eventually(lambda: runner.queued_tokens == 0)
        async with asyncio.timeout(120):
            while not await scanned_as_ever(stage):
                pass  # the machine itself was too busy for a moment
        await eventually(lambda: not runner.overloaded)
