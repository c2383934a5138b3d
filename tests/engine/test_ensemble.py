"""Several packs as one: what each says, in order; a call that failed for one has happened for none."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.ensemble import EnsembleScorer, Member, merged, muted, operating_points
from guardrail.engine.loading import load_scorers
from guardrail.engine.pack import load_pack
from guardrail.errors import OverloadedError, PackError, ScoringError
from tests.engine.lexical_packs import write_lexical_pack


class Scripted:
    """Scores every word of what it is given, with one score; counts what it was given."""

    provider, why_not_cuda = "cpu", ""

    def __init__(self, name, **scores):
        self.name, self.scores, self.categories = name, scores, tuple(scores)
        self.heard, self.errors, self.closed = [], [], 0
        self.gate = asyncio.Event()
        self.gate.set()

    def open(self):
        return ScriptedLane(self)

    def close(self):
        self.closed += 1


class ScriptedLane:
    def __init__(self, scorer, at=0):
        self.scorer, self.at, self.open = scorer, at, True

    def begin_turn(self, role):
        self.at = 0

    async def extend(self, text, *, tentative=False, scored=True):
        await self.scorer.gate.wait()
        if self.scorer.errors:
            raise self.scorer.errors.pop(0)
        self.scorer.heard.append((text, tentative, scored))
        words, at = [], self.at
        for word in text.split():
            start = text.index(word, at - self.at)
            at = self.at + start + len(word)
            words.append(TokenScore(Span(self.at + start, at), dict(self.scorer.scores)))
        if not tentative:
            self.at += len(text)
        return words if scored else []

    def fork(self):
        return ScriptedLane(self.scorer, self.at)

    def close(self):
        self.open = False


@pytest.fixture
def one():
    return Scripted("one/1", violence=0.5, drugs=0.1)


@pytest.fixture
def other():
    return Scripted("other/2", secret_credential=0.9)


@pytest.fixture
def lane(one, other):
    lane = EnsembleScorer([Member(one), Member(other)]).open()
    lane.begin_turn(Role.ASSISTANT)
    return lane


def said(scores):
    return [(score.span.start, score.span.end, dict(score.scores)) for score in scores]


BOTH = [(0, 1, {"violence": 0.5, "drugs": 0.1}), (0, 1, {"secret_credential": 0.9})]


def test_it_answers_for_all_of_them(one, other):
    ensemble = EnsembleScorer([Member(one), Member(other)])
    assert ensemble.name == "one/1 + other/2"
    assert ensemble.categories == ("violence", "drugs", "secret_credential")
    assert (ensemble.provider, ensemble.why_not_cuda) == ("cpu", "")
    ensemble.close()
    assert (one.closed, other.closed) == (1, 1)


async def test_every_pack_scores_every_text(lane, one, other):
    assert said(await lane.extend("a ")) == BOTH
    assert await lane.extend("b ", scored=False) == []
    assert said(await lane.extend("c", tentative=True)) == [(4, 5, scores) for _, _, scores in BOTH]
    assert one.heard == other.heard == [("a ", False, True), ("b ", False, False), ("c", True, True)]


async def test_they_score_at_the_same_time_and_the_slowest_bounds_the_answer(lane, one, other):
    one.gate.clear()
    call = asyncio.get_running_loop().create_task(lane.extend("a"))
    while not other.heard:
        await asyncio.sleep(0)
    assert not call.done()
    one.gate.set()
    assert said(await call) == BOTH


@pytest.mark.parametrize("error", [OverloadedError("full"), ScoringError("broken")], ids=str)
async def test_the_pack_that_fails_is_named(lane, other, error):
    other.errors.append(error)
    with pytest.raises(type(error), match=f"pack other/2: {error}"):
        await lane.extend("a")


async def test_a_failure_counts_for_more_than_a_refusal(lane, one, other):
    one.errors.append(OverloadedError("full"))
    other.errors.append(ScoringError("broken"))
    with pytest.raises(ScoringError, match="broken") as caught:
        await lane.extend("a")
    assert not isinstance(caught.value, OverloadedError)


async def test_a_defect_comes_as_it_is(lane, other):
    other.errors.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await lane.extend("a")


async def test_a_call_one_refused_can_be_repeated_and_nobody_reads_a_text_twice(lane, one, other):
    other.errors.append(OverloadedError("full"))
    with pytest.raises(OverloadedError):
        await lane.extend("a")
    assert said(await lane.extend("a")) == BOTH
    assert [text for text, *_ in one.heard] == [text for text, *_ in other.heard] == ["a"]


async def test_after_a_cancelled_call_the_next_continues_where_it_began(lane, one, other):
    other.gate.clear()
    call = asyncio.get_running_loop().create_task(lane.extend("a "))
    while not one.heard:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    other.gate.set()
    assert said(await lane.extend("a b"))[:2] == BOTH
    assert [text for text, *_ in one.heard] == ["a ", "b"]
    assert [text for text, *_ in other.heard] == ["a b"]


async def test_a_text_that_comes_again_as_another_fails(lane, one, other):
    other.errors.append(OverloadedError("full"))
    with pytest.raises(OverloadedError):
        await lane.extend("a")
    with pytest.raises(ScoringError, match="pack one/1: text that was refused or cancelled comes again"):
        await lane.extend("x")


async def test_what_was_pending_when_the_call_was_cancelled_is_restated(tmp_path):
    """The pack that was done said that a card number is under way; the rest of it comes with the next call."""
    entities = load_scorers([load_pack(write_lexical_pack(tmp_path / "mine"))])
    slow = Scripted("slow/1", violence=0.5)
    lane = EnsembleScorer([Member(slow), Member(entities)]).open()
    lane.begin_turn(Role.ASSISTANT)
    slow.errors.append(OverloadedError("full"))
    with pytest.raises(OverloadedError):
        await lane.extend("4111 1111")
    scores = await lane.extend("4111 1111 1111 1111 x")
    assert [score for score in scores if score.exact] == [
        TokenScore(Span(0, 19), {"payment_card": 1.0}, exact=True)
    ]


async def test_a_fork_is_independent_and_closing_closes_all(lane):
    await lane.extend("a ")
    fork = lane.fork()
    lane.close()
    assert [member.lane.open for member in lane._lanes] == [False, False]
    assert said(await fork.extend("b")) == [(2, 3, scores) for _, _, scores in BOTH]


async def test_neither_a_turn_nor_a_fork_begins_while_text_is_scored(lane, one):
    one.gate.clear()
    call = asyncio.get_running_loop().create_task(lane.extend("a"))
    await asyncio.sleep(0)
    for refused in (lambda: lane.begin_turn(Role.USER), lane.fork):
        with pytest.raises(RuntimeError, match="while an extend of the same lane is under way"):
            refused()
    one.gate.set()
    await call


# -- what they say together --------------------------------------------------------------------------------


def token(start, end, *, exact=False, **scores):
    return TokenScore(Span(start, end), scores, exact=exact)


def test_tokens_come_in_the_order_in_which_they_end():
    first, second = [token(0, 3, a=0.1), token(4, 9, a=0.2)], [token(0, 9, b=0.3), token(4, 6, b=0.4)]
    assert merged([first, second]) == [first[0], second[1], second[0], first[1]]


def test_where_two_score_a_category_the_highest_counts_once():
    """Else one word would meet a debounce of two."""
    first = [token(0, 4, a=0.2, x=0.5), token(5, 9, a=0.6)]
    second = [token(0, 2, a=0.9, y=0.1), token(2, 4, a=0.3), token(5, 9, a=0.1)]
    assert merged([first, second]) == [
        token(0, 2, y=0.1),
        token(0, 4, a=0.9, x=0.5),
        token(5, 9, a=0.6),
    ]


def test_where_the_first_says_nothing_the_other_speaks():
    assert merged([[token(0, 4, a=0.2)], [token(5, 6, a=0.9)]]) == [token(0, 4, a=0.2), token(5, 6, a=0.9)]


def test_an_exact_token_stands_for_itself():
    exact = token(0, 4, exact=True, a=1.0)
    assert merged([[token(0, 4, a=0.2)], [exact]]) == [token(0, 4, a=0.2), exact]


def packs(tmp_path, *points):
    made = []
    for number, each in enumerate(points):
        pack = load_pack(write_lexical_pack(tmp_path / f"p{number}"))
        made.append(dataclasses.replace(pack, operating_points={Role.USER: each, Role.ASSISTANT: {}}))
    return made


LOW, HIGH = {1: 0.1, 2: 0.2, 3: 0.3}, {1: 0.7, 2: 0.8, 3: 0.9}


def test_thresholds_are_those_of_the_first_that_has_any(tmp_path):
    table = operating_points(packs(tmp_path, {"a": None, "b": LOW}, {"a": HIGH, "b": HIGH, "c": None}))
    assert table[Role.USER] == {"a": HIGH, "b": LOW, "c": None}


def test_what_a_packs_makers_advise_against_is_left_to_those_who_do_not(tmp_path):
    """Its scores would count at thresholds that were chosen for another's."""
    first, second = muted(packs(tmp_path, {"a": None, "b": LOW}, {"a": HIGH, "b": None, "c": None}))
    assert (first[Role.USER], second[Role.USER]) == ({"a"}, {"b"})


async def test_a_muted_category_is_not_heard(one, other):
    lane = EnsembleScorer(
        [Member(one, {Role.USER: {"violence"}}), Member(other, {Role.USER: {"secret_credential"}})]
    ).open()
    lane.begin_turn(Role.USER)
    assert said(await lane.extend("a")) == [(0, 1, {"drugs": 0.1})]
    lane.begin_turn(Role.ASSISTANT)
    assert said(await lane.extend("a")) == BOTH


def test_one_pack_needs_no_ensemble_and_a_bad_one_closes_the_others(tmp_path, monkeypatch, one):
    pack = load_pack(write_lexical_pack(tmp_path / "mine"))
    assert load_scorers([pack]).name == "mine/1"

    def load(asked, *_, **__):
        if asked is not pack:
            raise PackError("other", "is broken")
        return one

    monkeypatch.setattr("guardrail.engine.loading.load_scorer", load)
    with pytest.raises(PackError):
        load_scorers([pack, dataclasses.replace(pack, name="other")])
    assert one.closed == 1
