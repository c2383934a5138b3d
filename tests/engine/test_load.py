"""How far behind an engine is, without a thread: what counts, what is refused, when it is over."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.load import RECOVERED_AT, Backlog, LoadMeter

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
    meter.stepped(STEP, 0.1, 0)
    return meter


def test_the_wait_is_what_is_queued_over_the_measured_rate():
    meter = metered()
    assert meter.tokens_per_s == pytest.approx(1000)
    assert meter.wait_s(500) == pytest.approx(0.5)


def test_before_anything_was_measured_nothing_is_refused():
    meter = LoadMeter(1.0, STEP)
    assert (meter.wait_s(10_000), meter.refuses(10_000, long=True)) == (0.0, False)


def test_work_is_refused_from_the_longest_wait_on_and_long_work_from_half_of_it():
    meter = metered()
    assert [meter.refuses(ahead, long=False) for ahead in (450, 600, 990, 1010)] == [
        False,
        False,
        False,
        True,
    ]
    assert [meter.refuses(ahead, long=True) for ahead in (450, 600, 990, 1010)] == [False, True, True, True]


def test_an_engine_without_a_longest_wait_refuses_nothing():
    assert not metered(inf).refuses(1_000_000, long=True)


def test_less_than_a_step_is_never_too_much():
    """One step that took ages (a paused machine) must not make an idle engine refuse."""
    meter = metered()
    meter.stepped(1, 60.0, 0)
    assert meter.wait_s(STEP) > 1000
    assert not meter.refuses(STEP, long=True)
    assert meter.refuses(STEP + 1, long=False)


def test_overload_is_reported_until_the_wait_is_half_again():
    meter = metered()
    assert not meter.overloaded
    meter.refuses(1100, long=False)
    assert meter.overloaded
    seen = []
    for ahead in (900, 600, 510, 490, 900):
        meter.stepped(STEP, 0.1, ahead)
        seen.append(meter.overloaded)
    assert seen == [True, True, True, False, False]
    assert RECOVERED_AT == 0.5


def test_the_rate_follows_what_steps_take_by_the_time_they_take():
    meter = metered()
    for _ in range(200):
        meter.stepped(1, 0.0001, 0)  # 20 ms of small steps
    assert meter.tokens_per_s < 1500
    for _ in range(30):
        meter.stepped(STEP, 0.05, 0)  # 1.5 s of wide ones
    assert meter.tokens_per_s == pytest.approx(2000, rel=0.1)


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0.0001, 10)), min_size=1, max_size=40))
def test_the_rate_lies_between_the_slowest_and_the_fastest_step(steps):
    meter = LoadMeter(1.0, STEP)
    for tokens, step_s in steps:
        meter.stepped(tokens, step_s, 0)
    rates = [tokens / step_s for tokens, step_s in steps]
    assert min(rates) * 0.999 <= meter.tokens_per_s <= max(rates) * 1.001
