"""Watermarks: released <= cleared <= arrived (invariant 1), and a call that would break it raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.holdback import HoldBack
from guardrail.core.spans import Span


def filled(text: str, *, cleared: int = 0) -> HoldBack:
    held = HoldBack()
    held.append(text)
    held.clear(cleared)
    return held


def test_nothing_leaves_before_it_is_cleared():
    held = filled("some text", cleared=4)
    with pytest.raises(ValueError, match="only 4 code points are cleared"):
        held.release(5)
    assert held.release(4) == (Span(0, 4), "some")
    assert held.held == 5


def test_nothing_is_cleared_before_it_arrived():
    held = filled("some")
    with pytest.raises(ValueError, match="only 4 code points arrived"):
        held.clear(5)


def test_clearing_less_than_before_takes_nothing_back():
    held = filled("some text", cleared=6)
    held.clear(2)
    assert held.cleared == 6


def test_releasing_twice_gives_nothing_the_second_time():
    held = filled("some text", cleared=9)
    held.release(6)
    span, text = held.release(3)
    assert (len(span), text) == (0, "")
    assert held.released == 6


def test_positions_are_code_points_not_bytes():
    held = filled("日本🙂語", cleared=3)
    assert held.release(3) == (Span(0, 3), "日本🙂")
    assert held.arrived == 4


def test_forgetting_keeps_what_is_held_or_not_judged_and_a_trail_to_look_back():
    held = filled("a" * 2000 + "b" * 50, cleared=2000)
    held.release(2000)
    held.forget(judged=2000)
    assert held.text(2000) == "b" * 50
    assert held.text(2000 - 64, 2000) == "a" * 64
    assert held.arrived == 2050
    assert len(held.text(0)) < 500, "released and judged text is let go"


def test_text_that_was_released_and_not_judged_is_kept():
    held = filled("a" * 2000, cleared=2000)  # it was late and the policy said pass
    held.release(2000)
    held.forget(judged=0)
    assert held.text(0) == "a" * 2000


@given(st.lists(st.tuples(st.sampled_from("ACRF"), st.integers(0, 900))))
def test_invariant_1_holds_after_any_sequence_of_calls(calls):
    held, sent, whole = HoldBack(), "", ""
    for call, number in calls:
        if call == "A":
            piece = "".join(chr(97 + (len(whole) + i) % 26) for i in range(number))
            held.append(piece)
            whole += piece
        elif call == "C":
            held.clear(min(number + held.cleared, held.arrived))
        elif call == "R":
            sent += held.release(min(number + held.released, held.cleared))[1]
        else:
            held.forget(min(number, held.arrived))
        assert held.released <= held.cleared <= held.arrived
        assert (held.released, held.arrived) == (len(sent), len(whole))
        assert whole.startswith(sent)
