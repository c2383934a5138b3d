"""Invariant 6 on real parts: what happens when scoring fails is the policy's choice; and observe mode."""

from __future__ import annotations

import pytest
import pytest_asyncio

from guardrail import observer as records
from guardrail.policy.rules import Timing
from guardrail.testing.upstream import JSON, Answer, chat_body, chat_stream
from tests.e2e.http_client import ask, fetch, texts
from tests.e2e.stage import FAILED, REPLACE, eventually, policy, staged

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PIECES = chat_stream(["Rivers run.", " Here it breaks", " and goes", " on."])
SOON = Timing(scoring_deadline_ms=100, abandon_ms=600)


def fails_on(word: str):
    return lambda text: word in text


# -- redirect, the default -----------------------------------------------------------------------------


async def test_text_that_cannot_be_scored_ends_the_answer_constructively(stage):
    stage.scorer.fail = fails_on("breaks")
    stage.upstream.answer = Answer(PIECES)
    response = await fetch(stage.address, ask())
    shown = texts(response.body)[0]
    assert shown.endswith(FAILED)
    # How much was scored before depends on what was scored together with the text that failed.
    assert "Rivers run. Here it".startswith(shown.removesuffix(FAILED).rstrip("\n…"))
    assert response.body.endswith(b"data: [DONE]\n\n")
    assert response.complete
    (failure,) = stage.ledger.all(records.ScoringFailed)
    assert (failure.reason, failure.stance, failure.lane) == ("error", "redirect", "choice/0")


async def test_a_prompt_that_cannot_be_scored_is_answered_constructively(stage):
    stage.scorer.fail = fails_on("rivers")
    stage.upstream.answer = Answer(PIECES)
    response = await fetch(stage.address, ask("Tell me about rivers."))
    assert texts(response.body) == {0: FAILED}
    assert stage.ledger.unscanned() == {"prompt": len("Tell me about rivers.")}


async def test_a_whole_answer_that_cannot_be_scored(stage):
    stage.scorer.fail = fails_on("breaks")
    stage.upstream.answer = Answer([chat_body("Here it breaks.")], headers=JSON)
    response = await fetch(stage.address, ask(stream=False))
    shown = response.json()["choices"][0]["message"]["content"]
    assert shown.endswith(FAILED)
    assert "breaks" not in shown


async def test_a_scorer_with_a_defect_counts_as_one_that_failed(stage):
    """Not only the errors it promises: a stream that hangs is the worst answer of all."""

    def defect(text: str) -> bool:
        if "breaks" in text:
            raise ZeroDivisionError
        return False

    stage.scorer.fail = defect
    stage.upstream.answer = Answer(PIECES)
    response = await fetch(stage.address, ask())
    assert texts(response.body)[0].endswith(FAILED)
    assert response.complete


# -- the others ----------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def passing():
    async with staged(policy(on_failure="pass", timing=SOON)) as running:
        yield running
        await eventually(lambda: running.scorer.open_lanes == 0)


@pytest_asyncio.fixture(loop_scope="session")
async def holding():
    async with staged(policy(on_failure="hold", timing=SOON)) as running:
        yield running
        await eventually(lambda: running.scorer.open_lanes == 0)


async def test_pass_lets_it_through_unscored_and_says_so(passing):
    passing.scorer.fail = fails_on("breaks")
    passing.upstream.answer = Answer(PIECES)
    response = await fetch(passing.address, ask())
    assert response.body == b"".join(PIECES)
    ended = await passing.ended()
    assert ended.unscanned["failure"] > 0
    assert {failure.stance for failure in passing.ledger.all(records.ScoringFailed)} == {"pass"}


async def test_pass_does_not_wait_for_a_scorer_that_does_not_answer(passing):
    passing.scorer.delay_s = lambda: 30.0
    passing.upstream.answer = Answer(PIECES)
    response = await fetch(passing.address, ask())
    assert response.body == b"".join(PIECES)
    ended = await passing.ended()
    assert ended.unscanned["prompt"] > 0
    assert "late" in {failure.reason for failure in passing.ledger.all(records.ScoringFailed)}


async def test_hold_withholds_it_to_the_end_and_then_ends_the_answer(holding):
    holding.scorer.fail = fails_on("breaks")
    holding.upstream.answer = Answer(PIECES)
    response = await fetch(holding.address, ask())
    assert texts(response.body)[0].endswith(FAILED)
    assert b"breaks" not in response.body
    assert response.complete
    assert holding.upstream.exchanges[0].outcome == "finished"  # held to the end, not stopped


# -- observe -------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def observing():
    async with staged(policy(mode="observe")) as running:
        yield running
        await eventually(lambda: running.scorer.open_lanes == 0)


async def test_observe_changes_nothing_and_reports_everything(observing):
    pieces = chat_stream(["You sound sad today.", " Then stab him.", " The end."])
    observing.upstream.answer = Answer(pieces)
    response = await fetch(observing.address, ask("I am sad."))
    assert response.body == b"".join(pieces)
    assert response.headers["x-guardrail"] == "mode=observe; policy=stage"
    ended = await observing.ended()
    applied = observing.ledger.all(records.InterventionApplied)
    assert {(record.kind, record.enforced) for record in applied} == {("redirect", False), ("replace", False)}
    assert (ended.outcome, ended.inserted_chars, ended.exposure_chars > 0) == ("completed", 0, True)
    observing.reset()
    body = chat_body("Then stab him.")
    observing.upstream.answer = Answer([body], headers=JSON)
    assert (await fetch(observing.address, ask(stream=False))).body == body


async def test_a_request_may_ask_for_the_stricter_mode_only(observing, stage):
    pieces = chat_stream(["Then stab him."])
    observing.upstream.answer = stage.upstream.answer = Answer(pieces)
    stricter = await fetch(observing.address, ask(), headers={"x-guardrail-mode": "enforce"})
    assert texts(stricter.body) == {0: f"Then…\n\n{REPLACE}"}
    laxer = await fetch(stage.address, ask(), headers={"x-guardrail-mode": "observe"})
    assert texts(laxer.body) == {0: f"Then…\n\n{REPLACE}"}
    unknown = await fetch(observing.address, ask(), headers={"x-guardrail-mode": "off"})
    assert unknown.body == b"".join(pieces)
