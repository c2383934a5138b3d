"""Tokens between scorer and judge: in the order of the text, whatever the order in which they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.pending import UnjudgedTokens
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.policy.judge import LaneJudge
from tests.core.properties import policy


def unjudged() -> UnjudgedTokens:
    return UnjudgedTokens(LaneJudge(policy(), Role.ASSISTANT))


def token(start: int, end: int, score: float = 0.9, *, pending: bool = False) -> TokenScore:
    return TokenScore(Span(start, end), {"privacy_pii": score}, pending)


spans = st.tuples(st.integers(0, 30), st.integers(1, 30)).map(lambda pair: (pair[0], sum(pair)))


@given(st.lists(spans, unique=True), st.randoms())
def test_tokens_are_judged_in_the_order_of_the_text_the_longer_first(places, lots):
    came = lots.sample(places, len(places))
    tokens = unjudged()
    while came:
        size = lots.randint(1, len(came))
        tokens.add([token(*place) for place in came[:size]])
        came = came[size:]

    taken = [(t.span.start, t.span.end) for end in (*range(7, 30, 7), 31) for t in tokens.take(end)]
    assert taken == sorted(places, key=lambda place: (place[0], -place[1]))


def test_only_tokens_that_begin_before_the_end_are_taken():
    tokens = unjudged()
    tokens.add([token(0, 4), token(4, 6)])
    assert tokens.take(4) == [token(0, 4)]
    assert tokens.take(4) == []


def test_text_waits_for_the_first_pending_token_that_something_may_come_of():
    tokens = unjudged()
    harmless = TokenScore(Span(0, 2), {"nothing_the_policy_knows": 1.0}, pending=True)
    tokens.add([token(3, 9, pending=True), token(5, 9, pending=True), harmless])
    assert tokens.waits_at == 3
    assert tokens.take(9) == [], "what is pending is not judged"


def test_it_is_empty_when_nothing_waits_to_be_judged_or_for_what_comes():
    tokens = unjudged()
    assert tokens.empty
    tokens.add([token(0, 4), token(5, 9, pending=True)])
    assert not tokens.empty
    tokens.take(9)
    assert not tokens.empty
    tokens.add([])
    assert tokens.empty


def test_a_later_result_restates_what_is_pending():
    tokens = unjudged()
    tokens.add([token(3, 9, pending=True)])
    tokens.add([token(0, 14)])
    assert tokens.waits_at is None
    assert tokens.take(14) == [token(0, 14)]


def test_what_is_settled_stands_as_it_is():
    tokens = unjudged()
    tokens.add([token(3, 9, pending=True)])
    tokens.settle()
    assert tokens.waits_at is None
    assert [t.span for t in tokens.take(9)] == [Span(3, 9)]


def test_a_split_token_stands_up_to_there_and_waits_from_there():
    tokens = unjudged()
    long = token(3, 20, pending=True)
    tokens.add([long, token(5, 20, pending=True), token(14, 20, pending=True)])
    tokens.split(long, 12, 20)
    assert tokens.waits_at == 12
    assert tokens.take(20) == [token(3, 12)]
    tokens.settle()
    assert [t.span for t in tokens.take(20)] == [Span(12, 20), Span(14, 20)], (
        "the one inside is judged with it"
    )


def test_what_is_split_off_an_entity_is_as_exact_as_the_whole():
    tokens = unjudged()
    entity = TokenScore(Span(3, 20), {"privacy_pii": 0.9}, pending=True, exact=True)
    tokens.add([entity])
    tokens.split(entity, 12, 20)
    assert tokens.take(12) == [TokenScore(Span(3, 12), {"privacy_pii": 0.9}, exact=True)]


def test_text_that_was_let_go_does_not_wait_again():
    tokens = unjudged()
    tokens.add([token(3, 9, pending=True)])
    tokens.let_go(9)
    tokens.add([token(3, 14, pending=True)])
    assert tokens.waits_at is None
    tokens.add([token(3, 14, pending=True), token(9, 14, pending=True)])
    assert tokens.waits_at == 9
