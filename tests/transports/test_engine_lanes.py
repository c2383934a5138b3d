"""Operations of a lane are carried out in order, whatever is cancelled, forked and closed in between."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.verdicts import Role
from guardrail.errors import OverloadedError, ProtocolError
from guardrail.testing.scorers import KeywordScorer
from guardrail.transports.engine_lanes import ClientLanes
from guardrail.transports.engine_messages import BeginTurn, Cancel, Close, Extend, Failed, Fork, Open

WORDS = {"doom": {"violence": 0.9}}


class GatedScorer(KeywordScorer):
    """Answers when it is told to."""

    def __init__(self):
        super().__init__(WORDS)
        self.gate = asyncio.Event()

    async def score(self, text, offset):
        await self.gate.wait()
        return await super().score(text, offset)


def lanes_of(scorer, *, max_lanes=8, max_calls=8):
    return ClientLanes(scorer, max_lanes=max_lanes, max_calls=max_calls)


def apply(lanes, *operations):
    for operation in operations:
        lanes.apply(operation)


async def take(lanes, count):
    taken = []
    async with asyncio.timeout(30):
        while len(taken) < count:
            taken += await lanes.results()
    return {result.call: result for result in taken}


def spans(result):
    return [(token.span.start, token.span.end) for token in result.tokens]


async def test_calls_of_one_lane_go_on_from_each_other():
    lanes = lanes_of(KeywordScorer(WORDS))
    apply(
        lanes, Open(1), BeginTurn(1, Role.USER), Extend(1, 1, "one"), Extend(1, 2, " two"),
        BeginTurn(1, Role.ASSISTANT), Extend(1, 3, "three"),
    )  # fmt: skip
    found = await take(lanes, 3)
    assert {call: spans(result) for call, result in found.items()} == {1: [(0, 3)], 2: [(4, 7)], 3: [(0, 5)]}


async def test_lanes_do_not_wait_for_each_other():
    scorer = GatedScorer()
    lanes = lanes_of(scorer)
    apply(lanes, Open(1), Open(2), BeginTurn(1, Role.USER), BeginTurn(2, Role.USER))
    apply(lanes, Extend(1, 1, "one"), Extend(1, 2, "one"), Extend(2, 3, "two"))
    scorer.gate.set()
    first = await lanes.results()
    assert {result.call for result in first} >= {1, 3}


async def test_a_call_that_is_given_up_leaves_the_lane_as_it_was():
    scorer = GatedScorer()
    lanes = lanes_of(scorer)
    apply(lanes, Open(1), BeginTurn(1, Role.USER), Extend(1, 1, "one"), Extend(1, 2, " two"))
    await asyncio.sleep(0)
    apply(lanes, Cancel(1, 1), Cancel(1, 2), Extend(1, 3, "three"))
    scorer.gate.set()
    found = await take(lanes, 1)
    assert {call: spans(result) for call, result in found.items()} == {3: [(0, 5)]}


async def test_what_waits_behind_a_call_that_is_given_up_keeps_its_order():
    """A fork may wait for its source, and its own operations for the fork; closing does not overtake them."""
    scorer = GatedScorer()
    lanes = lanes_of(scorer)
    apply(lanes, Open(1), BeginTurn(1, Role.USER), Extend(1, 1, "doom"))
    await asyncio.sleep(0)
    apply(
        lanes, Cancel(1, 1), Fork(2, 1), Close(1), Fork(3, 2), Close(2),
        BeginTurn(3, Role.ASSISTANT), Extend(3, 2, "so doom"),
    )  # fmt: skip
    scorer.gate.set()
    found = await take(lanes, 1)
    assert spans(found[2]) == [(0, 2), (3, 7)]
    lanes.apply(Close(3))
    assert (len(lanes), scorer.open_lanes) == (0, 0)


@pytest.mark.parametrize("tentative", [False, True])
async def test_what_was_scored_cannot_be_undone(tentative):
    """A cancellation that comes too late must not leave text in the lane that the client takes for gone."""
    lanes = lanes_of(KeywordScorer(WORDS))
    apply(lanes, Open(1), BeginTurn(1, Role.USER), Extend(1, 1, "one", tentative=tentative))
    await take(lanes, 1)
    apply(lanes, Cancel(1, 1, tentative=tentative), Fork(2, 1), Extend(1, 2, "one"), Extend(2, 3, "one"))
    found = await take(lanes, 2)
    if tentative:
        assert all(spans(result) == [(0, 3)] for result in found.values())
    else:
        assert all("cancelled" in result.message for result in found.values())


async def test_one_call_too_many_is_refused_and_nothing_else():  # invariant 10
    scorer = GatedScorer()
    lanes = lanes_of(scorer, max_calls=2)
    apply(lanes, Open(1), BeginTurn(1, Role.USER), *(Extend(1, call, " one") for call in (1, 2, 3)))
    found = await take(lanes, 1)
    assert found == {3: Failed(3, "2 calls of this client are under way", overloaded=True)}
    scorer.gate.set()
    assert set(await take(lanes, 2)) == {1, 2}
    lanes.apply(Extend(1, 4, " four"))
    assert spans((await take(lanes, 1))[4]) == [(9, 13)]


async def test_what_waits_for_one_lane_is_bounded():  # invariant 10
    lanes = lanes_of(GatedScorer(), max_calls=4)
    apply(lanes, Open(1), BeginTurn(1, Role.USER), Extend(1, 1, "one"))
    with pytest.raises(ProtocolError, match="more than 4 operations wait for lane 1"):
        apply(lanes, *(BeginTurn(1, Role.USER) for _ in range(6)))


async def test_a_lane_that_is_being_closed_makes_room_at_once():
    """The client counts it no longer, and must not be told that it broke the rules."""
    lanes = lanes_of(GatedScorer(), max_lanes=1)
    apply(lanes, Open(1), BeginTurn(1, Role.USER), Extend(1, 1, "one"))
    await asyncio.sleep(0)
    apply(lanes, Close(1), Open(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(lanes) == 1


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (Open(1), "lane 1 is open already"),
        (Fork(1, 1), "lane 1 is open already"),
        (Fork(3, 9), "lane 9 is not open"),
        (BeginTurn(9, Role.USER), "lane 9 is not open"),
        (Extend(9, 1, "secret"), "lane 9 is not open"),
        (Cancel(9, 1), "lane 9 is not open"),
        (Close(9), "lane 9 is not open"),
        (Open(3), "more than 2 lanes are open"),
    ],
)
async def test_a_client_that_breaks_the_rules_is_told_which(operation, reason):
    lanes = lanes_of(KeywordScorer(WORDS), max_lanes=2)
    apply(lanes, Open(1), Open(2))
    with pytest.raises(ProtocolError, match=reason):
        lanes.apply(operation)


async def test_invariant_10_a_client_that_left_leaves_nothing_behind():
    scorer = GatedScorer()
    lanes = lanes_of(scorer)
    apply(lanes, Open(1), BeginTurn(1, Role.USER), Extend(1, 1, "one"), Extend(1, 2, "two"), Fork(2, 1))
    await asyncio.sleep(0)
    lanes.close()
    scorer.gate.set()
    await asyncio.sleep(0)
    assert (len(lanes), lanes.results_waiting, scorer.open_lanes) == (0, 0, 0)


@pytest.mark.parametrize(
    ("error", "says", "overloaded"),
    [
        (OverloadedError("full"), "full", True),
        (ZeroDivisionError("secret"), "the engine failed: ZeroDivisionError", False),
    ],
)
async def test_what_goes_wrong_is_said_without_text(error, says, overloaded):  # invariant 8
    def fail(_):
        raise error

    lanes = lanes_of(KeywordScorer(WORDS, fail=fail))
    apply(lanes, Open(1), BeginTurn(1, Role.USER), Extend(1, 1, "one"))
    assert await take(lanes, 1) == {1: Failed(1, says, overloaded=overloaded)}


# -- a law ---------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["word", "try", "turn", "fork", "cancelled"])),
        max_size=30,
    )
)
def test_a_lane_is_as_if_it_were_alone_and_nearby(steps):
    """The same steps on a scorer's own lanes, one after the other, give the same scores."""

    async def check():
        scorer, lanes = KeywordScorer(WORDS), lanes_of(KeywordScorer(WORDS), max_lanes=100, max_calls=100)
        numbers, own, expected = [1], [scorer.open()], {}
        own[0].begin_turn(Role.USER)
        apply(lanes, Open(1), BeginTurn(1, Role.USER))
        for call, (choice, step) in enumerate(steps):
            index = choice % len(own)
            lane, number = own[index], numbers[index]
            if step == "turn":
                lane.begin_turn(Role.ASSISTANT)
                lanes.apply(BeginTurn(number, Role.ASSISTANT))
            elif step == "fork":
                own.append(lane.fork())
                numbers.append(len(numbers) + 1)
                lanes.apply(Fork(numbers[-1], number))
            elif step == "cancelled":
                apply(lanes, Extend(number, call, " gone"), Cancel(number, call))
            else:
                tentative = step == "try"
                expected[call] = list(await lane.extend(" doom", tentative=tentative))
                lanes.apply(Extend(number, call, " doom", tentative=tentative))
        found = await take(lanes, len(expected)) if expected else {}
        assert {number: result.tokens for number, result in found.items()} == expected

    asyncio.run(check())
