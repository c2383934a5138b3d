"""Where words and sentences end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.segments import MAX_WORD_CHARS, ends_sentence, scorable, word_ends


def words(text: str, *, final: bool = False) -> list[str]:
    ends = word_ends(text, final=final)
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", []),
        ("open", []),
        ("one two three", ["one", " two"]),
        ("end ", ["end"]),
        ("  leading", []),
        ("a\nb\r\nc ", ["a", "\nb", "\r\nc"]),
        ("日本語", ["日", "本", "語"]),
        ("is日本 a", ["is", "日", "本"]),
        ("好。ok ", ["好", "。", "ok"]),
        ("a\u3000b ", ["a", "\u3000b"]),
        ("한국어 말 ", ["한국어", " 말"]),
    ],
    ids=repr,
)
def test_a_word_is_complete_when_what_follows_shows_its_end(text, complete):
    assert words(text) == complete


@pytest.mark.parametrize("code", [
    0x3001, 0x303F, 0x3400, 0x4DBF, 0x4E00, 0x9FFF, 0xF900, 0xFAFF, 0xFF00, 0xFF0F, 0x20000, 0x3FFFF,
], ids=hex)  # fmt: skip
def test_han_and_wide_marks_are_words_by_themselves(code):
    assert words(f"a{chr(code)}b ") == ["a", chr(code), "b"]


@pytest.mark.parametrize("code", [
    0x2FFF, 0x3040, 0x33FF, 0x4DC0, 0x4DFF, 0xA000, 0xF8FF, 0xFB00, 0xFEFF, 0xFF10, 0x1FFFF, 0x40000,
], ids=hex)  # fmt: skip
def test_their_neighbours_are_not(code):
    assert words(f"a{chr(code)}b ") == [f"a{chr(code)}b"]


def test_the_end_of_the_text_ends_the_last_word():
    assert words("one two", final=True) == ["one", " two"]
    assert words("one ", final=True) == ["one", " "]
    assert word_ends("", final=True) == []


@pytest.mark.parametrize("char", ["x", "ก", "\u0301", " ", "🙂", "/"])
def test_a_run_without_a_boundary_is_cut_so_that_scoring_cannot_trail(char):
    lengths = [len(word) for word in words(char * 200)]
    assert lengths[:3] == [MAX_WORD_CHARS] * 3


@pytest.mark.parametrize("spaces", [1, 59, 62, 63, 64, 65, 127, 200])
def test_white_space_in_front_never_cuts_a_word_in_two(spaces):
    # Else 62 spaces would hide any word from a classifier.
    assert words(" " * spaces + "doom ")[-1].strip() == "doom"


@given(st.text(alphabet="ab日。 \n\u3000\u0301🙂", max_size=300), st.data())
def test_ends_are_the_same_from_any_word_end_on(text, data):
    ends = word_ends(text)
    if ends:
        cut = data.draw(st.sampled_from(ends))
        assert [cut + end for end in word_ends(text[cut:])] == [end for end in ends if end > cut]


@given(st.text(alphabet="ab日。 \n\u0301", max_size=200), st.text(alphabet="ab日 ", max_size=50))
def test_a_known_end_does_not_change_when_more_text_comes(text, more):
    known = word_ends(text)
    assert word_ends(text + more)[: len(known)] == known


def test_one_piece_never_spans_a_cut_inside_a_run():
    # A tokenizer would read across the cut in one call and stop at it in two.
    run = "x" * (MAX_WORD_CHARS + 10)
    assert scorable(f"a {run} b ") == len("a ") + MAX_WORD_CHARS
    assert scorable("a b c ") == 5
    assert scorable("日本語 ") == 3


def test_nothing_can_be_scored_of_an_open_word():
    assert scorable("open") == 0
    assert scorable("open", final=True) == 4


@pytest.mark.parametrize(
    "before",
    [
        "It ends.",
        "Does it?",
        "It does!",
        "Who knows…",
        'He said "yes."',
        "**Bold end.**",
        "(In brackets.)",
        "यह समाप्त।",
        "هل هذا؟",
        "It costs 3.",
        "Version B.C.E then stop.",
    ],
)
def test_a_sentence_ends_at_its_mark_and_white_space(before):
    assert ends_sentence(before, " Next")
    assert ends_sentence(before, "\n")


@pytest.mark.parametrize("before", ["好。", "真的！", "什么？", "他说：“好。”", "「はい。」"])
def test_a_wide_mark_needs_no_space_after_it(before):
    assert ends_sentence(before, "然后")
    assert ends_sentence(before, "A")


@pytest.mark.parametrize(
    ("before", "after"), [("「はい。", "」と"), ("他说：“好。", "”然后"), ("什么？", "！然后")]
)
def test_a_wide_sentence_keeps_what_closes_it(before, after):
    assert not ends_sentence(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", " Start"),
        ("in the middle", " of it"),
        ("It costs 3.", "5 euros"),
        ("guardrail.", "core"),
        ("Dr.", " Who"),
        ("e.g.", " this"),
        ("(cf.", " that)"),
        ("John F.", " Kennedy"),
        ("1.", " First"),
        ("text\n 12.", " Twelfth"),
        ("\n```\n", " code"),
        ("***", " x"),
    ],
)
def test_no_sentence_ends_here(before, after):
    assert not ends_sentence(before, after)


@pytest.mark.parametrize("paragraph", ["\n\n", "\r\n\r\n"])
def test_a_paragraph_ends_a_sentence_whatever_it_ends_with(paragraph):
    assert ends_sentence("A heading", paragraph + "Text")
    assert not ends_sentence("A line", "\nText")
