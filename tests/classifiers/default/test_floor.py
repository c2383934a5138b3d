"""The floor to beat: what it learns from words, and that it is measured on sets with both kinds."""

from __future__ import annotations

from classifiers.default.floor import FEWEST, floor, text_of
from tests.classifiers.default.made_up import answer, user


def test_an_answer_is_read_with_its_question_in_other_words():
    assert text_of(user("Go away")) == "Go away"
    assert text_of(answer("Fine.", None)) == "Fine."
    assert text_of(answer("Fine.", "May I GO?")) == "Fine. q_may q_i q_go?"
    assert text_of(user("Yes", prompt="Tea?")) == "Yes"
    assert len(text_of(answer("Fine.", "word " * 500)).split()) == 121


def rows(source, count, **more):
    made = []
    for number in range(count):
        made.append(user(f"sweet flowers number {number}", src=source, **more))
        made.append(user(f"bitter poison number {number}", {"drugs": 2}, src=source, **more))
    return made


def test_words_that_tell_are_learnt():
    found = floor(rows("known", 30), rows("new", 20), "user")
    assert found == {"new": {"turns": 40, "auc": 1.0}}


def test_words_that_say_the_opposite_elsewhere_are_found_out():
    turned = [row | {"harm": 1 - row["harm"]} for row in rows("new", 20)]
    assert floor(rows("known", 30), turned, "user")["new"]["auc"] == 0.0


def test_only_sets_with_enough_of_both_kinds_are_measured():
    unseen = [
        *rows("enough", FEWEST),
        *rows("few", FEWEST - 1),
        *(row for row in rows("one kind", 40) if row["harm"]),
        *rows("no verdict", 40, harm=None),
        *(row | {"role": "assistant"} for row in rows("answers", 40)),
    ]
    assert set(floor(rows("known", 30), unseen, "user")) == {"enough"}
