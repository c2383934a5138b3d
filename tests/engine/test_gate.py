"""Members of an ensemble that are gated: who reads what, how often, and whose scores count."""

from __future__ import annotations

import asyncio

import pytest

from guardrail.core.verdicts import Role
from guardrail.engine.cascade import Cascade
from guardrail.engine.ensemble import EnsembleScorer, Member
from guardrail.engine.gate import Gate
from guardrail.errors import OverloadedError, ScoringError
from guardrail.testing.scorers import KeywordScorer
from guardrail.transports.tasks import spawn
from tests.engine.gates import GATE, HEAVY, Counting, lane_of, said

MURK = Gate(threshold=0.2)


def ensemble(*members):
    scorer = EnsembleScorer(members)
    return scorer, lane_of(scorer)


async def test_a_gate_that_is_heard_is_read_once_and_its_highest_scores_count():
    gate, heavy, other = (
        Counting({"murk": {"violence": 0.97}}),
        Counting(HEAVY),
        Counting({"doom": {"drugs": 0.5}}),
    )
    scorer, lane = ensemble(Member(heavy, gated_by=(2, MURK)), Member(other), Member(gate))
    tokens = [*await lane.extend("doom"), *await lane.extend(" murk doom")]
    assert said(tokens) == {0: 0.0, 5: 0.97, 10: 0.95}, "the gate alone, then both, then both"
    assert said(tokens, "drugs") == {0: 0.5, 5: 0.0, 10: 0.5}, "who is not gated reads everything"
    assert gate.shown == other.shown == heavy.shown == ["doom", " murk doom"]
    assert (scorer.lanes_opened, scorer.name) == (1, "keyword/1<keyword/1 + keyword/1 + keyword/1")


async def test_a_gate_may_be_gated_itself():
    cheap, middle, heavy = Counting(GATE), Counting({"doom": {"drugs": 0.9}}), Counting(HEAVY)
    _, lane = ensemble(Member(heavy, gated_by=(1, MURK)), Member(middle, gated_by=(2, MURK)), Member(cheap))
    await lane.extend("doom")
    await lane.extend(" murk")
    assert (middle.shown, heavy.shown) == (["doom", " murk"], [])
    await lane.extend(" doom")
    assert heavy.shown == ["doom", " murk", " doom"]


async def test_two_are_gated_by_one_and_one_refusal_costs_nobody_a_second_reading():
    gate, first, second = Counting(GATE), Counting(HEAVY), Counting(HEAVY)
    _, lane = ensemble(
        Member(first, gated_by=(2, MURK)), Member(second, gated_by=(2, Gate(threshold=0.1))), Member(gate)
    )
    await lane.extend("hush")
    assert (first.shown, second.shown) == ([], ["hush"])
    second.refusals = 1
    with pytest.raises(OverloadedError):
        await lane.extend(" murk")
    assert said(await lane.extend(" murk")) == {5: 0.9}
    assert first.shown == second.shown == gate.shown == ["hush", " murk"]


async def test_a_gate_that_fails_fails_the_text():
    gate, heavy = Counting(GATE, fail=lambda text: True), Counting(HEAVY)
    _, lane = ensemble(Member(heavy, gated_by=(1, MURK)), Member(gate))
    with pytest.raises(ScoringError, match="pack keyword/1: told to fail"):
        await lane.extend("murk")
    assert heavy.shown == []


async def test_a_lane_that_is_closed_while_its_gate_reads_opens_no_other():
    gate, heavy = KeywordScorer(GATE, delay_s=lambda: 0.0), Counting(HEAVY)
    _, lane = ensemble(Member(heavy, gated_by=(1, MURK)), Member(gate))
    call = spawn(lane.extend("murk"), name="call", awaited=True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    lane.close()
    with pytest.raises(ScoringError):
        await call
    assert (gate.open_lanes, heavy.open_lanes) == (0, 0)


async def test_what_is_pending_at_the_end_of_a_turn_stands_and_opens_the_next():
    gate = Counting({}, phrases={"murk": {"violence": 0.5}, "murk and more": {"violence": 0.5}})
    scorer = Cascade(gate, Counting(HEAVY), MURK)
    lane = lane_of(scorer)
    assert said(await lane.extend("murk")) == {}
    fork = lane.fork()
    assert scorer.heavy.shown == []
    for each in (lane, fork):
        each.begin_turn(Role.USER)
        assert said(await each.extend("doom")) == {0: 0.95}


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1])
def test_a_gate_without_a_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match=r"gate\.threshold"):
        Gate(threshold=threshold)
