"""How far behind an engine is, without a thread: what counts, what is refused, when it is over."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.load import CALM_S, Backlog, LoadMeter

STEP, QUEUE = 100, 1600

changes = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 700)), max_size=30)


@given(changes, st.randoms())
def test_a_backlog_is_the_sum_of_its_lanes_each_counted_up_to_its_bound(added, lots):
    backlog, left = Backlog(STEP, QUEUE), dict.fromkeys("abcd", 0)
    for lane, tokens in added:
        backlog.add(lane, tokens)
        left[lane] += tokens
        taken = lots.randint(0, left[lane])
        backlog.add(lane, -taken)
        left[lane] -= taken
        assert backlog.tokens == sum(left.values())
        assert backlog.ahead == sum(min(tokens, STEP) for tokens in left.values())
        assert backlog.counted == sum(min(tokens, QUEUE // 16) for tokens in left.values())
    for lane, tokens in left.items():
        backlog.add(lane, -tokens)
    assert (backlog.tokens, backlog.ahead, backlog.counted, dict(backlog._lanes)) == (0, 0, 0, {})


def test_one_lane_never_fills_the_queue():
    backlog = Backlog(STEP, QUEUE)
    backlog.add("a", 1_000_000)
    assert (backlog.ahead, backlog.counted) == (STEP, QUEUE // 16)


def metered(max_wait_s: float = 1.0) -> LoadMeter:
    """An engine that feeds 1,000 tokens a second."""
    meter = LoadMeter(max_wait_s, STEP)
    meter.stepped(STEP, 0.1)
    return meter


def refused(meter: LoadMeter, *aheads: int, begins: bool = False, waited_s: float = 0.0) -> list[bool]:
    return [meter.refuses(ahead, 0.0, begins=begins, waited_s=waited_s) for ahead in aheads]


def test_the_wait_is_what_is_queued_over_the_measured_rate():
    meter = metered()
    assert meter.tokens_per_s == pytest.approx(1000)
    assert meter.wait_s(500) == pytest.approx(0.5)


def test_before_anything_was_measured_nothing_is_refused():
    meter = LoadMeter(1.0, STEP)
    assert meter.wait_s(10_000) == 0.0
    assert refused(meter, 10_000, begins=True) == [False]


def test_who_was_turned_away_comes_in_before_who_comes_for_the_first_time():
    meter = metered()
    assert refused(meter, 490, 510) == [False, True]
    assert refused(meter, 740, 760, waited_s=0.5) == [False, True]
    assert refused(meter, 990, 1010, waited_s=1.0) == [False, True]
    assert refused(meter, 990, 1010, waited_s=99.0) == [False, True]


def test_what_begins_stands_back_for_what_runs():
    meter = metered()
    assert refused(meter, 240, 260, begins=True) == [False, True]
    assert refused(meter, 490, 510, begins=True, waited_s=1.0) == [False, True]


def test_an_engine_without_a_longest_wait_refuses_nothing():
    assert refused(metered(inf), 1_000_000, begins=True) == [False]


def test_less_than_a_step_is_never_too_much():
    """One step that took ages (a paused machine) must not make an idle engine refuse."""
    meter = metered()
    meter.stepped(1, 60.0)
    assert meter.wait_s(STEP) > 1000
    assert refused(meter, STEP, begins=True) == [False]
    assert refused(meter, STEP + 1) == [True]


def test_overload_is_reported_from_the_first_refusal_until_nobody_was_refused_for_a_while():
    meter = metered()
    assert not meter.overloaded(0.0)
    assert not meter.refuses(100, 0.0, begins=False)
    assert not meter.overloaded(0.0)
    for now in (10.0, 13.0):
        assert meter.refuses(2000, now, begins=False)
        assert meter.overloaded(now)
    assert meter.overloaded(13.0 + CALM_S - 0.1)
    assert not meter.overloaded(13.0 + CALM_S)


def test_the_rate_follows_what_steps_take_by_the_time_they_take():
    meter = metered()
    for _ in range(200):
        meter.stepped(1, 0.0001)  # 20 ms of small steps
    assert meter.tokens_per_s < 1500
    for _ in range(100):
        meter.stepped(STEP, 0.05)  # 5 s of wide ones
    assert meter.tokens_per_s == pytest.approx(2000, rel=0.1)


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0.0001, 10)), min_size=1, max_size=40))
def test_the_rate_lies_between_the_slowest_and_the_fastest_step(steps):
    meter = LoadMeter(1.0, STEP)
    for tokens, step_s in steps:
        meter.stepped(tokens, step_s)
    rates = [tokens / step_s for tokens, step_s in steps]
    assert min(rates) * 0.999 <= meter.tokens_per_s <= max(rates) * 1.001
