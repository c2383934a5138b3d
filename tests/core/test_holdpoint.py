"""The hold point: pinned by the first watched word, moved by sentences, never past what waits to be confirmed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.holdback import HoldBack
from guardrail.core.holdpoint import HoldPoint
from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.core.verdicts import Level


def text_of(words: str) -> HoldBack:
    text = HoldBack()
    text.append(words)
    text.clear(len(words))
    return text


def marked(
    words: str, level: Level, *, max_held_chars: int = 80, unconfirmed_at: int | None = None
) -> HoldPoint:
    """The hold point after each of ``words`` reached ``level``."""
    hold = HoldPoint(text_of(words), max_held_chars)
    hold.unconfirmed_at = unconfirmed_at
    ends = word_ends(words, final=True)
    for start, end in zip([0, *ends], ends, strict=False):
        hold.mark(Span(start, end), level, 0)
    return hold


def test_clear_text_may_leave_as_far_as_it_is_cleared():
    hold = marked("all is well", Level.CLEAR)
    assert (hold.at, hold.free_to) == (None, 11)


def test_the_first_watched_word_pins_it_and_a_clear_one_lifts_it():
    hold = HoldPoint(text_of("a bit murky here"), 80)
    hold.mark(Span(0, 1), Level.CLEAR, 0)
    hold.mark(Span(1, 5), Level.WATCH, 0)
    hold.mark(Span(5, 11), Level.WATCH, 0)
    assert hold.free_to == 1
    hold.mark(Span(11, 16), Level.CLEAR, 0)
    assert hold.free_to == 16


def test_it_is_not_pinned_in_front_of_what_has_left_or_of_words_of_ours():
    text = text_of("a bit murky here")
    text.release(3)
    for placed, at in ((0, 3), (4, 4)):
        hold = HoldPoint(text, 80)
        hold.mark(Span(1, 5), Level.WATCH, placed)
        assert hold.at == at


def test_a_pin_that_holds_too_much_moves_up_to_a_sentence_end():
    words = "One thing. Two things." + " and so on" * 8
    assert marked(words, Level.WATCH).at == len("One thing. Two things.")


@given(
    st.lists(st.sampled_from(["so", "it", "goes.", "on", "and on", "\n\n", "x" * 50])).map(" ".join),
    st.integers(0, 200),
    st.integers(1, 80),
)
def test_it_holds_little_and_never_moves_past_a_risk_to_be_confirmed(words, unconfirmed_at, max_held_chars):
    hold = marked(words, Level.WATCH, max_held_chars=max_held_chars)
    ends = word_ends(words, final=True)
    longest = max((end - start for start, end in zip([0, *ends], ends, strict=False)), default=0)
    assert len(words) - (hold.at or 0) <= max_held_chars + 2 * longest

    held = marked(words, Level.WATCH, max_held_chars=max_held_chars, unconfirmed_at=unconfirmed_at)
    assert (held.at or 0) <= unconfirmed_at


def test_help_may_not_move_it_past_a_risk_to_be_confirmed():
    hold = marked("murky here", Level.WATCH, unconfirmed_at=5)
    assert hold.may_move_to(5)
    assert not hold.may_move_to(6)
    hold.move_to(5)
    assert hold.free_to == 5
    hold.lift()
    assert hold.may_move_to(6)
