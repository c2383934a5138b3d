"""A lane's text on its way to a scorer that is full, fails and comes back."""

from __future__ import annotations

import pytest

from guardrail.core.spans import Span
from guardrail.core.verdicts import FailureStance, Role, TokenScore
from guardrail.errors import OverloadedError, ScoringError
from guardrail.policy.rules import Timing
from guardrail.transports import feed as feed_module
from guardrail.transports.feed import MAX_GAP_CONTEXT_CHARS, LaneFeed, patience_s

TIMING = Timing(scoring_deadline_ms=4000, abandon_ms=8000)


class Engine:
    """Scores by position; raises what it is told to, as often as it is told to."""

    def __init__(self):
        self.raises: list[Exception | None] = []
        self.lanes: list[Lane] = []

    def open(self):
        self.lanes.append(Lane(self))
        return self.lanes[-1]


class Lane:
    def __init__(self, engine):
        self.engine = engine
        self.read = ""
        self.calls: list[tuple[str, bool]] = []
        self.role = None
        self.closed = False

    def begin_turn(self, role):
        self.role = role

    async def extend(self, text, *, tentative=False, scored=True):
        self.calls.append((text, scored))
        error = self.engine.raises.pop(0) if self.engine.raises else None
        if error is not None:
            raise error
        at = len(self.read)
        if not tentative:
            self.read += text
        return [TokenScore(Span(at, at + len(text)), {})] if scored else []

    def fork(self):
        raise AssertionError("a feed forks no scorer")

    def close(self):
        self.closed = True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """For how long a full scorer would have been asked again, call by call; it is asked once."""
    asked: list[float] = []

    async def extend(scorer, text, *, patience_s, tentative=False, scored=True):
        asked.append(patience_s)
        return await scorer.extend(text, tentative=tentative, scored=scored)

    monkeypatch.setattr(feed_module, "extend", extend)
    return asked


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def clock():
    return Clock()


def feed_of(engine, clock, stance=FailureStance.PASS):
    scorer = engine.open()
    scorer.begin_turn(Role.ASSISTANT)
    return LaneFeed(scorer, engine.open, TIMING, stance, clock)


def full(times=1):
    return [OverloadedError("full")] * times


async def span_of(feed, text, **options):
    (token,) = await feed.score(text, **options)
    return token.span.start, token.span.end


async def test_without_trouble_the_scorer_is_told_what_the_lane_says(engine, clock):
    feed = feed_of(engine, clock)
    assert await span_of(feed, "One two", tentative=True) == (0, 7)
    assert await span_of(feed, "One two.") == (0, 8)
    assert await span_of(feed, " Three.") == (8, 15)
    assert engine.lanes[0].calls == [("One two", True), ("One two.", True), (" Three.", True)]


async def test_text_that_was_left_out_moves_positions_and_is_read_as_context(engine, clock):
    feed = feed_of(engine, clock)
    await feed.score("One two.")
    feed.skip(" Three.")
    feed.skip(" Four.")
    assert await span_of(feed, " Five.") == (21, 27)
    assert await span_of(feed, " Six.") == (27, 32)
    assert engine.lanes[0].calls[1:] == [(" Three. Four.", False), (" Five.", True), (" Six.", True)]


async def test_of_a_long_gap_only_the_end_is_read_from_where_a_word_begins(engine, clock):
    feed = feed_of(engine, clock)
    for number in range(100):
        feed.skip(f" word{number}")
    skipped = sum(len(f" word{number}") for number in range(100))
    assert await span_of(feed, " End.") == (skipped, skipped + 5)
    ((gap, scored), _) = engine.lanes[0].calls
    assert not scored
    assert MAX_GAP_CONTEXT_CHARS - 10 < len(gap) <= MAX_GAP_CONTEXT_CHARS
    assert gap.startswith(" word")
    assert gap.endswith(" word99")


async def test_a_gap_without_any_boundary_is_cut_all_the_same(engine, clock):
    feed = feed_of(engine, clock)
    feed.skip("語" * 500)
    assert await span_of(feed, "。") == (500, 501)
    assert engine.lanes[0].calls[0] == ("語" * MAX_GAP_CONTEXT_CHARS, False)


async def test_where_text_passes_a_refused_lane_waits_once_and_stays_away_for_a_while(
    engine, clock, patience
):
    feed = feed_of(engine, clock)
    engine.raises = full()
    with pytest.raises(OverloadedError):
        await feed.score("One.")
    feed.skip("One.")
    for text in (" Two.", " Three."):
        with pytest.raises(OverloadedError, match="a moment ago"):
            await feed.score(text)
        feed.skip(text)
    assert patience == [2.0]

    clock.now += 4.0
    engine.raises = full()
    with pytest.raises(OverloadedError, match="full"):
        await feed.score(" Four.")
    feed.skip(" Four.")
    assert patience == [2.0, 0.0]

    clock.now += 4.0
    assert await span_of(feed, " Five.") == (22, 28)
    await feed.score(" Six.")
    assert patience == [2.0, 0.0, 0.0, 0.0, 2.0]  # the gap and five, asked once; then as before


@pytest.mark.parametrize(("stance", "patience_s"), [(FailureStance.HOLD, 8.0), (FailureStance.REDIRECT, 4.0)])
async def test_where_text_waits_the_scorer_is_asked_again_every_time(
    engine, clock, patience, stance, patience_s
):
    feed = feed_of(engine, clock, stance)
    for text in ("One.", " Two."):
        engine.raises = full()
        with pytest.raises(OverloadedError, match="full"):
            await feed.score(text)
    assert patience == [patience_s, patience_s]


def test_the_longer_text_may_wait_the_longer_a_full_scorer_is_asked():
    patience = [patience_s(TIMING, stance) for stance in FailureStance]
    assert dict(zip(FailureStance, patience, strict=True)) == {
        FailureStance.PASS: 2.0,  # half the deadline: the other half is the engine's
        FailureStance.REDIRECT: 4.0,
        FailureStance.HOLD: 8.0,
    }


async def test_an_open_word_is_asked_for_once_and_keeps_nobody_away(engine, clock, patience):
    feed = feed_of(engine, clock)
    engine.raises = full()
    with pytest.raises(OverloadedError):
        await feed.score("On", tentative=True)
    assert await span_of(feed, "One.") == (0, 4)
    assert patience == [0.0, 2.0]


async def test_a_scorer_that_failed_is_replaced_and_knows_the_end_of_what_it_missed(engine, clock):
    feed = feed_of(engine, clock)
    await feed.score("One.")
    engine.raises = [ScoringError("told to")]
    with pytest.raises(ScoringError):
        await feed.score(" Two.")
    feed.skip(" Two.")
    assert engine.lanes[0].closed

    assert await span_of(feed, " Three.") == (9, 16)
    fresh = engine.lanes[1]
    assert fresh.role is Role.ASSISTANT
    assert fresh.calls == [(" Two.", False), (" Three.", True)]
    feed.close()
    feed.close()
    assert fresh.closed


async def test_what_was_read_before_a_refusal_is_not_read_again(engine, clock):
    feed = feed_of(engine, clock, FailureStance.REDIRECT)
    feed.skip("One.")
    engine.raises = [None, *full(1)]
    with pytest.raises(OverloadedError):
        await feed.score(" Two.")
    feed.skip(" Two.")
    assert await span_of(feed, " Three.") == (9, 16)
    assert engine.lanes[0].read == "One. Two. Three."
