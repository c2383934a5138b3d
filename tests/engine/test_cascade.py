"""``Cascade``: when the heavy scorer is asked, what it is shown, and whose scores come back."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.cascade import Cascade, Gate
from guardrail.errors import OverloadedError, ScoringError
from guardrail.testing.chunking import at
from guardrail.transports.tasks import spawn
from tests.engine.gates import GATE, HEAVY, PHRASES, Counting, lane_of, said


def cascade(threshold: float = 0.2, **options) -> Cascade:
    return Cascade(Counting(GATE, phrases=PHRASES), Counting(HEAVY), Gate(threshold=threshold, **options))


async def test_a_calm_lane_never_reaches_the_heavy_scorer():
    scorer = cascade()
    lane = lane_of(scorer)
    tokens = [*await lane.extend("doom and hush"), *await lane.extend(" and doom")]
    assert said(tokens) == {}, "what the gate misses is missed"
    assert (scorer.heavy.shown, scorer.heavy.open_lanes, scorer.lanes_opened) == ([], 0, 0)


async def test_an_opened_lane_is_read_from_its_beginning_and_counts_from_the_gates_word():
    scorer = cascade()
    lane = lane_of(scorer, Role.USER)
    await lane.extend("Hello doom.")
    lane.begin_turn(Role.ASSISTANT)
    await lane.extend("One doom")
    tokens = await lane.extend(" two murk doom")
    assert scorer.heavy.shown == ["Hello doom.", "One doom", " two murk doom"]
    assert said(tokens) == {13: 0.9, 18: 0.95}
    assert said(await lane.extend(" hush doom")) == {23: 0.0, 28: 0.95}, "it stays open"
    assert scorer.lanes_opened == 1


async def test_what_opened_a_turn_is_open_in_the_next_and_in_forks():
    scorer = cascade()
    lane = lane_of(scorer, Role.USER)
    await lane.extend("murk")
    fork = lane.fork()
    for one in (lane, fork):
        one.begin_turn(Role.ASSISTANT)
        assert said(await one.extend("doom")) == {0: 0.95}
    lane.close()
    assert said(await fork.extend(" doom")) == {5: 0.95}
    fork.close()
    assert (scorer.heavy.open_lanes, scorer.gate.open_lanes) == (0, 0)


async def test_a_fork_opens_for_itself():
    scorer = cascade()
    lane = lane_of(scorer)
    await lane.extend("calm")
    fork = lane.fork()
    assert said(await fork.extend(" murk")) == {5: 0.9}
    assert said(await lane.extend(" doom")) == {}
    assert scorer.heavy.shown == ["calm", " murk"]


async def test_a_word_that_is_tried_opens_nothing_and_is_not_called_calm():
    scorer = cascade()
    lane = lane_of(scorer)
    await lane.extend("so")
    tokens = await lane.extend(" murk", tentative=True)
    assert Span(2, 7) in [token.span for token in tokens if token.pending]
    assert scorer.heavy.shown == []
    assert said(await lane.extend(" murky doom")) == {}
    assert said(await lane.extend(" murk")) == {14: 0.9}
    assert said(await lane.extend(" doo", tentative=True)) == {19: 0.0}
    assert said(await lane.extend(" doom")) == {19: 0.95}


async def test_a_span_the_gate_waited_for_counts_from_its_beginning():
    lane = lane_of(cascade())
    tokens = await lane.extend("a key")
    heavy = TokenScore(Span(2, 5), {"sexual": 0.0, "violence": 0.0}, pending=True, exact=True)
    assert tokens[-1] == heavy, "what will perhaps be judged must not leave"
    await lane.extend(" one")
    tokens = await lane.extend(" two doom")
    assert said(tokens, "privacy_pii")[2] == 0.9
    assert said(tokens) == {2: 0.0, 6: 0.0, 10: 0.0, 14: 0.95}


async def test_what_the_gate_alone_knows_it_says_always():
    lane = lane_of(cascade(threshold=1.0))
    assert said(await lane.extend("key one two doom"), "privacy_pii")[0] == 0.9
    lane = lane_of(cascade())
    await lane.extend("murk")
    assert said(await lane.extend(" key one two"), "privacy_pii")[5] == 0.9


async def test_a_word_behind_what_is_pending_opens_when_that_is_decided():
    scorer = cascade(categories=["violence"])
    lane = lane_of(scorer)
    await lane.extend("doom key one")
    scorer.gate.phrases["one murk x"] = {"violence": 0.9}
    await lane.extend(" murk")
    assert scorer.heavy.shown == []
    assert said(await lane.extend(" doom"))[18] == 0.95
    assert scorer.heavy.shown == ["doom key one", " murk", " doom"]


async def test_a_refused_call_can_be_repeated():
    scorer = cascade()
    lane = lane_of(scorer)
    await lane.extend("one")
    await lane.extend(" two")
    scorer.heavy.refusals = 1
    with pytest.raises(OverloadedError):
        await lane.extend(" murk")
    assert said(await lane.extend(" murk")) == {8: 0.9}
    scorer.heavy.refusals = 1
    with pytest.raises(OverloadedError):
        await lane.extend(" murk doom")
    assert said(await lane.extend(" murk doom so")) == {13: 0.9, 18: 0.95, 23: 0.0}, "or with more"
    assert "".join(scorer.heavy.shown) == "one two murk murk doom so"
    assert scorer.gate.shown == ["one", " two", " murk", " murk doom", " so"], "the gate reads nothing twice"


async def test_a_cancelled_call_leaves_the_lane_where_it_was():
    scorer = cascade()
    lane = lane_of(scorer)
    call = spawn(lane.extend("murk"), name="call", awaited=True)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert said(await lane.extend("murk doom")) == {0: 0.9, 5: 0.95}


async def test_a_lane_is_closed_with_both_of_its_own():
    scorer = cascade()
    lane = lane_of(scorer)
    await lane.extend("murk")
    call = spawn(lane.extend(" doom"), name="call", awaited=True)
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="fork while an extend"):
        lane.fork()
    await call
    lane.close()
    lane.close()
    with pytest.raises(ScoringError):
        await lane.extend(" more")
    assert (scorer.heavy.open_lanes, scorer.gate.open_lanes) == (0, 0)


async def test_only_categories_that_count_open_a_lane():
    lane = lane_of(cascade(categories=["privacy_pii"]))
    assert said(await lane.extend("murk doom")) == {}
    assert said(await lane.extend(" key one two murk")) == {10: 0.0, 14: 0.0, 18: 0.0, 22: 0.9}


def test_it_has_the_names_and_categories_of_both():
    scorer = cascade()
    assert scorer.name == "keyword/1<keyword/1"
    assert scorer.categories == ("sexual", "violence", "privacy_pii")


TEXT = st.lists(
    st.sampled_from(["murk", "doom", "hush", "calm", "key", "key one", "key one two"]), max_size=12
)


@given(TEXT.map(" ".join), st.data())
@settings(max_examples=200, deadline=None)
def test_invariant_3_scores_do_not_depend_on_where_the_text_was_cut(text, data):
    ends = word_ends(text, final=True)
    cuts = data.draw(st.lists(st.sampled_from(ends), unique=True)) if ends else []
    refuse = data.draw(st.booleans())

    async def tokens(pieces):
        scorer, found, last = cascade(), [], []
        lane = lane_of(scorer)
        for piece in pieces:
            scorer.heavy.refusals = int(refuse)
            while True:
                try:
                    last = await lane.extend(piece)
                    break
                except OverloadedError:
                    pass
            found += [token for token in last if not token.pending]
        return sorted([*found, *(token for token in last if token.pending)], key=repr)

    assert asyncio.run(tokens(at(text, cuts))) == asyncio.run(tokens([text] if text else []))
