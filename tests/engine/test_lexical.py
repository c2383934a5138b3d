"""Lanes of a lexical pack: the protocol, exact spans, what is pending."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine import lexicon
from guardrail.engine.loading import load_scorer
from guardrail.errors import ScoringError
from tests.engine.lexical_packs import write_lexical_pack

CARD = "4111 1111 1111 1111"


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return load_scorer(write_lexical_pack(tmp_path_factory.mktemp("packs") / "mine"))


@pytest.fixture
def lane(scorer):
    lane = scorer.open()
    lane.begin_turn(Role.ASSISTANT)
    return lane


def entity(start, end, category, score=1.0, *, pending=False):
    return TokenScore(Span(start, end), {category: score}, pending, exact=True)


async def test_an_entity_is_one_token_with_its_span_and_words_have_none(lane):
    assert await lane.extend(f"Pay {CARD} at") == [entity(4, 23, "payment_card")]
    assert await lane.extend(" the harbour") == [entity(31, 38, "secret_credential")]


async def test_an_entity_that_is_under_way_is_pending_until_it_is_whole(lane):
    under_way = [entity(4, 8, "payment_card", 0.0, pending=True)]
    assert await lane.extend("Pay 4111") == under_way
    assert await lane.extend(" 1111") == [entity(4, 13, "payment_card", 0.0, pending=True)]
    assert await lane.extend(" 1111 1111") == [entity(4, 23, "payment_card")]
    assert await lane.extend(" now") == []


async def test_what_was_pending_and_came_to_nothing_is_pending_no_longer(lane):
    assert len(await lane.extend("4111")) == 1
    assert await lane.extend(" birds") == []


async def test_an_entity_that_may_go_on_is_pending_with_its_score(lane):
    assert await lane.extend("pin-abcd") == [entity(0, 8, "secret_credential", 0.8, pending=True)]
    assert await lane.extend(" ef") == [entity(0, 11, "secret_credential", 0.8)]


async def test_a_tentative_call_sees_an_open_word_and_leaves_no_trace(lane):
    assert await lane.extend("pin-ab", tentative=True) == [
        entity(0, 6, "secret_credential", 0.0, pending=True)
    ]
    assert await lane.extend("pine") == []


async def test_text_that_is_context_gives_no_scores_and_positions_go_on(lane):
    assert await lane.extend(f"{CARD} ", scored=False) == []
    assert await lane.extend("harbour.") == [entity(20, 27, "secret_credential")]


async def test_a_role_that_is_not_judged_gives_none(lane):
    lane.begin_turn(Role.SYSTEM)
    assert await lane.extend(CARD) == []


async def test_a_turn_begins_at_nothing(lane):
    await lane.extend("4111")
    lane.begin_turn(Role.USER)
    assert await lane.extend(" 1111 1111 1111 pin-a") == []


async def test_a_fork_goes_on_by_itself(lane):
    await lane.extend("4111 1111")
    other = lane.fork()
    assert (
        await lane.extend(" 1111 1111") == await other.extend(" 1111 1111") == [entity(0, 19, "payment_card")]
    )
    lane.close()
    assert await other.extend(" harbour") == [entity(20, 27, "secret_credential")]
    with pytest.raises(ScoringError, match="the lane is closed"):
        await lane.extend("x")


async def test_a_long_text_lets_others_have_their_turn(lane):
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.get_running_loop().create_task(others())
    scores = await lane.extend(f"word {CARD} " * 300)
    busy.cancel()
    assert len(scores) == 300
    assert turns > 10


async def test_the_cost_of_a_word_does_not_grow_with_the_text(lane):
    """What is kept of a turn is bounded, and a word reads no more than that."""
    for _ in range(50):
        await lane.extend(" some words of no interest, 4111 or so")
    assert len(lane._reading.kept) <= lexicon.BEFORE + 19 + lexicon.AFTER


async def test_a_pattern_that_takes_too_long_fails_the_text(lane, monkeypatch):
    def slow(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(lexicon.Lexicon, "read", slow)
    with pytest.raises(ScoringError, match="a pattern took too long"):
        await lane.extend("x")


async def test_records_name_the_pack_and_where_it_runs(scorer):
    assert (scorer.name, scorer.provider) == ("mine/1", "cpu")
    assert scorer.categories == ("payment_card", "secret_credential")
    scorer.close()


texts = st.lists(
    st.sampled_from(["4111", "1111", CARD, "pin-abcd", "ef", "harbour", "Blue", "x", ",", "漢", "\n"]),
    max_size=12,
).map(" ".join)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), text=texts)
def test_scores_do_not_depend_on_the_cuts(data, text, scorer):
    ends = [end for end in word_ends(text, final=True) if data.draw(st.booleans())] + [len(text)]
    lane, whole = scorer.open(), scorer.open()
    for each in (lane, whole):
        each.begin_turn(Role.USER)

    async def run():
        final, last, start = [], [], 0
        for end in ends:
            last = await lane.extend(text[start:end])
            final += [score for score in last if not score.pending]
            start = end
        pending = [score for score in last if score.pending]
        return [*final, *pending], await whole.extend(text)

    got, expected = asyncio.run(run())
    assert got == expected
