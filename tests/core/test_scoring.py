"""What goes out to be scored: one piece at a time, all of the text once, the open word by its timer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.commands import ScoreText, WakeAfter
from guardrail.core.holdback import HoldBack
from guardrail.core.scoring import Scoring
from guardrail.core.spans import Span


def lane(words: str = "", deadline_s: float = 0.25) -> tuple[HoldBack, Scoring]:
    text = HoldBack()
    text.append(words)
    return text, Scoring(text, deadline_s)


@given(st.text("ab. \n日", max_size=200), st.randoms())
def test_all_text_goes_out_once_and_one_piece_at_a_time(words, lots):
    text, scoring = lane()
    sent = ""
    begin = 0
    while scoring.scored < len(words):
        end = min(len(words), begin + lots.randint(1, 9))
        text.append(words[begin:end])
        begin = end
        command = scoring.next_words(final=begin == len(words))
        if isinstance(command, ScoreText):
            assert command.span.start == len(sent)
            sent += command.text
        if scoring.out is not None:
            assert scoring.next_words(final=False) is None, "two are out"
            if lots.random() < 0.5:
                scoring.move_to(scoring.answered().span.end)
    assert sent == words


def test_the_timer_is_set_once_an_open_word():
    text, scoring = lane("ope")
    assert scoring.next_words(final=False) == WakeAfter(0.25)
    text.append("n")
    assert scoring.next_words(final=False) is None
    scoring.timer_fired()
    assert scoring.next_words(final=False) == WakeAfter(0.25)
    assert scoring.try_open_word() == ScoreText(Span(0, 4), "open", tentative=True)
    scoring.answered()
    assert not scoring.open_word_waits, "tried already"
    text.append("s")
    assert scoring.next_words(final=False) == WakeAfter(0.25)


def test_no_timer_is_set_when_it_is_switched_off_or_nobody_waits():
    assert lane("ope", deadline_s=0)[1].next_words(final=False) is None
    text, scoring = lane("ope")
    text.clear(3)
    assert scoring.next_words(final=False) is None


def test_white_space_at_the_end_is_passed_over():
    _, scoring = lane(" \n")
    assert scoring.try_open_word() is None
    assert scoring.skip_blank_end()
    assert scoring.scored == 2
    assert not scoring.skip_blank_end(), "nothing is left"


def test_white_space_waits_for_what_is_out():
    text, scoring = lane("word ")
    assert scoring.next_words(final=False) == ScoreText(Span(0, 4), "word")
    text.append(" ")
    assert not scoring.skip_blank_end()
