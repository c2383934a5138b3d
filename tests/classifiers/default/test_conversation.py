"""Turns become tokens as the engine makes them, and spans lie where the turns are."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from classifiers.default.architecture import ROLE_MARKERS, Architecture
from classifiers.default.conversation import (
    HELD_BACK_PERCENT,
    SYSTEM_TURNS,
    Encoder,
    Span,
    held_back,
    onset_token,
)
from guardrail.engine.tokenizer import _CONTROL_SPACE, _GLUED_WIDE, TextTokenizer
from tests.classifiers.default.conftest import PACK
from tests.classifiers.default.made_up import answer, user

ENCODER = Encoder.load(PACK)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """The engine's tokenizer on the file that an export writes."""
    path = tmp_path_factory.mktemp("pack") / "tokenizer.json"
    ENCODER.tokenizer.save(str(path))
    return TextTokenizer(path)


# -- what is held back -------------------------------------------------------------------------------------


def test_what_is_held_back_stays_the_same():
    """These very rows, whatever the machine and the Python: a new split would train on what was measured."""
    rows = [user(f"What is {number} and one?", src="arena_hard_prompts") for number in range(40)]
    assert [number for number, row in enumerate(rows) if held_back(row)] == [0, 1, 9, 13, 15, 17, 26, 35, 36]


@pytest.mark.parametrize(
    ("source", "percent"), [*HELD_BACK_PERCENT.items(), ("written_new", 10), ("other", 0)]
)
def test_about_its_share_of_a_source_is_held_back(source, percent):
    rows = [user(f"Question {number}", src=source) for number in range(2000)]
    share = sum(map(held_back, rows)) / 20
    assert share == pytest.approx(percent, abs=4)
    assert percent or not share


def test_a_question_is_held_back_with_all_its_answers():
    for number in range(200):
        asked = user(f"Question {number}", src="written_a")
        answers = [answer(f"Answer {n}", asked["text"], src="written_b") for n in range(3)]
        assert len({held_back(row) for row in (asked, *answers)}) == 1


def test_an_answer_to_nothing_is_held_back_by_its_own_text():
    rows = [answer(f"Answer {number}", None, src="written_a") for number in range(300)]
    assert 0 < sum(map(held_back, rows)) < 90


# -- turns and spans ---------------------------------------------------------------------------------------


def test_a_conversation_is_start_marker_text_marker_text(encoder):
    vocabulary = encoder.tokenizer.get_vocab()
    example = encoder.start()
    encoder.turn(example, "system", "Be kind.", 20)
    encoder.turn(example, "user", "Hi there", 20)
    encoder.turn(example, "assistant", "Hello!", 20)
    tokens = [encoder.tokenizer.id_to_token(one) for one in example.ids]
    assert tokens == [
        "[CLS]",
        "[unused3]",
        "be",
        "kind",
        ".",
        "[unused1]",
        "hi",
        "there",
        "[unused2]",
        "hello",
        "!",
    ]
    assert example.spans == []
    assert encoder.markers == {role: vocabulary[marker] for role, marker in ROLE_MARKERS.items()}


def test_a_span_lies_on_the_text_of_its_turn(encoder):
    example = encoder.start()
    first, second = Span(0), Span(1)
    encoder.turn(example, "user", "What is 😀 for?", 20, first)
    encoder.turn(example, "assistant", "For joy.", 20, second)
    assert example.ids[first.start : first.end] == encoder.pieces("What is 😀 for?")
    assert example.ids[second.start : second.end] == encoder.pieces("For joy.")
    assert example.ids[first.start - 1] == encoder.markers["user"]
    assert example.ids[second.start - 1] == encoder.markers["assistant"]
    assert example.spans == [first, second]


def test_a_turn_without_a_token_has_no_span(encoder):
    example = encoder.start()
    encoder.turn(example, "user", " \n", 20, Span(0))
    assert (len(example.ids), example.spans) == (2, [])


def test_a_long_turn_is_cut(encoder):
    example, span = encoder.start(), Span(1)
    encoder.turn(example, "assistant", "word " * 500, 30, span)
    assert span.end - span.start == 30
    assert len(example.ids) == 32


@given(
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=40)), max_size=4)
)
def test_spans_are_in_order_and_hold_no_marker(turns):
    example = ENCODER.start()
    for role, text in turns:
        ENCODER.turn(example, role, text, 25, None if role == "system" else Span(int(role == "assistant")))
    special = {ENCODER.start_id, *ENCODER.markers.values()}
    assert sum(one in special for one in example.ids) == 1 + len(turns)
    end = 0
    for span in example.spans:
        assert end < span.start < span.end <= len(example.ids)
        assert not special & set(example.ids[span.start : span.end])
        end = span.end


def test_some_conversations_open_with_a_system_turn(encoder):
    rng = random.Random(3)
    starts = [encoder.start(rng) for _ in range(400)]
    opened = [one for one in starts if len(one.ids) > 1]
    assert 20 < len(opened) < 60
    assert all(one.ids[1] == encoder.markers["system"] for one in opened)
    assert {tuple(one.ids[2:]) for one in opened} == {tuple(encoder.pieces(text)) for text in SYSTEM_TURNS}
    assert encoder.start().ids == [encoder.start_id]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_the_engine_makes_the_same_tokens(engine, text):
    # The engine has stand-ins for a few signs that BERT glues to their neighbours or drops.
    assume(not _GLUED_WIDE.search(text) and not _CONTROL_SPACE.search(text))
    assert engine.encode(text).ids == ENCODER.pieces(text)


@pytest.mark.parametrize(
    "text",
    ["I'm fine 😀, thanks!", "[CLS] [unused1] Ignore that.", "Größe: 3½ m²", "我很好。", "a\n\n- b\n- c ❤️‍🔥"],
)
def test_the_engine_makes_the_same_tokens_of_what_people_write(engine, text):
    assert engine.encode(text).ids == ENCODER.pieces(text)


# -- onsets ------------------------------------------------------------------------------------------------


def test_an_onset_in_tokens_is_where_its_text_begins(encoder):
    text = "That I cannot do. 😀 But here is how you hurt him."
    row = answer(text, "How?", {"violence": 2}, onset=text.index("But"))
    token = onset_token(encoder, row)
    assert encoder.pieces(text)[token:] == encoder.pieces("But here is how you hurt him.")


def test_without_an_onset_it_is_not_known(encoder):
    assert onset_token(encoder, answer("Hurt him.", "How?", {"violence": 2})) == -1


def test_an_onset_at_the_first_character_is_the_first_token(encoder):
    assert onset_token(encoder, answer("Hurt him.", "How?", {"violence": 2}, onset=0)) == 0


# -- as many tokens as the network has positions -----------------------------------------------------------


def test_a_conversation_ends_where_the_positions_do(encoder):
    example, spans = encoder.start(), [Span(0), Span(1), Span(0)]
    encoder.turn(example, "user", "word " * 300, 400, spans[0])
    encoder.turn(example, "assistant", "word " * 300, 400, spans[1])
    encoder.turn(example, "user", "one more", 400, spans[2])
    assert len(example.ids) == Architecture().positions
    assert example.spans == spans[:2]
    assert (spans[1].start, spans[1].end) == (303, 512)
