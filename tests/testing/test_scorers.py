"""``KeywordScorer`` keeps the promises of the ``Scorer`` protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.errors import ScoringError
from guardrail.testing.chunking import at
from guardrail.testing.scorers import KeywordScorer, score_phrases, score_words

WORDS = {"doom": {"violence": 0.9}, "tears": {"mental_distress": 0.8}}


def test_words_have_their_scores_and_all_others_none():
    assert score_words("So Doom.", 10, WORDS) == [
        TokenScore(Span(10, 12), {}),
        TokenScore(Span(13, 17), {"violence": 0.9}),
        TokenScore(Span(17, 18), {}),
    ]


@given(st.text(alphabet="do日𠀀＋。〇\u3000 \n.'_é\u0301한か\x1c\u200b", max_size=80), st.data())
def test_invariant_3_tokens_do_not_depend_on_where_the_core_cuts(text, data):
    cut = data.draw(st.sampled_from([0, *word_ends(text)]))
    whole = score_words(text, 0, WORDS)
    assert score_words(text[:cut], 0, WORDS) + score_words(text[cut:], cut, WORDS) == whole


@given(st.text(alphabet=" \n\t\u3000\x1c\u2028", max_size=20))
def test_white_space_alone_gives_no_token(text):
    assert score_words(text, 0, WORDS) == []


PHRASES = {
    "ab ab": {"privacy_pii": 0.9},
    "ab ab c": {"privacy_pii": 0.8},
    "b": {"sexual": 0.3},
    "b ab": {"privacy_pii": 0.7},
}


@given(st.text(alphabet="abc ", max_size=20), st.lists(st.integers(0, 20)))
def test_invariant_3_phrases_are_found_whole_however_the_text_was_cut(text, cuts):
    pieces, before, found = at(text, cuts), "", []
    for piece in pieces:
        tokens = score_phrases(before, piece, PHRASES)
        found += [token for token in tokens if not token.pending]
        pending = [token for token in tokens if token.pending]
        before += piece
    found += pending if pieces else []
    assert sorted(found, key=repr) == sorted(score_phrases("", text, PHRASES), key=repr)


def test_what_may_become_more_is_pending():
    assert score_phrases("x ", "ab", PHRASES) == [
        TokenScore(Span(2, 4), {"privacy_pii": 0.0}, pending=True),
        TokenScore(Span(3, 4), {"sexual": 0.3}, pending=True),
    ]
    assert score_phrases("x ab", "!", PHRASES) == [TokenScore(Span(3, 4), {"sexual": 0.3})]


async def test_a_lane_finds_phrases_over_calls():
    lane = KeywordScorer(WORDS, phrases=PHRASES).open()
    assert [token.pending for token in await lane.extend("ab")] == [False, True, True]
    fork = lane.fork()
    assert TokenScore(Span(0, 5), {"privacy_pii": 0.9}, pending=True) in await fork.extend(" ab")
    assert TokenScore(Span(0, 5), {"privacy_pii": 0.9}) in await fork.extend(" x")
    assert TokenScore(Span(1, 2), {"sexual": 0.3}) in await lane.extend(" x")


async def test_positions_go_on_from_call_to_call_and_begin_anew_with_a_turn():
    lane = KeywordScorer(WORDS).open()
    lane.begin_turn(Role.USER)
    assert [token.span for token in await lane.extend("one two")] == [Span(0, 3), Span(4, 7)]
    assert [token.span for token in await lane.extend(" three")] == [Span(8, 13)]
    lane.begin_turn(Role.ASSISTANT)
    assert [token.span for token in await lane.extend("one")] == [Span(0, 3)]


async def test_a_tentative_call_leaves_no_trace():
    lane = KeywordScorer(WORDS).open()
    await lane.extend("on", tentative=True)
    assert [token.span for token in await lane.extend("one")] == [Span(0, 3)]


async def test_lanes_are_counted_until_closed_and_closing_twice_counts_once():
    scorer = KeywordScorer(WORDS)
    lane = scorer.open()
    fork = lane.fork()
    assert scorer.open_lanes == 2
    lane.close()
    lane.close()
    assert scorer.open_lanes == 1
    with pytest.raises(ScoringError):
        await lane.extend("text")
    assert await fork.extend("text"), "a fork outlives what it was forked from"


async def test_a_fork_goes_on_where_it_was_forked():
    lane = KeywordScorer(WORDS).open()
    await lane.extend("one two")
    assert [token.span for token in await lane.fork().extend(" three")] == [Span(8, 13)]


async def test_context_is_taken_in_without_scores():
    lane = KeywordScorer(WORDS).open()
    assert await lane.extend("one two", scored=False) == []
    assert [token.span for token in await lane.extend(" three")] == [Span(8, 13)]


async def test_it_fails_and_takes_its_time_when_told_to():
    scorer = KeywordScorer(WORDS, fail=lambda text: "bad" in text, delay_s=lambda: 0.0)
    lane = scorer.open()
    with pytest.raises(ScoringError, match="told to fail"):
        await lane.extend("a bad one")
    assert await lane.extend("a good one")


def test_it_says_what_it_scores():
    assert KeywordScorer(WORDS).categories == ["mental_distress", "violence"]
