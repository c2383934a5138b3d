"""What stands in a text does not depend on how it was cut, and nothing that may yet be an entity is called clear."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.engine.checks import check_named
from guardrail.engine.lexicon import AFTER, Lexicon, Reading, blanked
from guardrail.engine.patterns import Pattern

WHOLE = r"(?<!\w)(?:{})(?!\w)"


def pattern(category, source, longest, *, whole=True, check=None, score=1.0, words=None):
    source = WHOLE.format(source) if whole else source
    return Pattern(category, category, score, longest, source, words or {}, check)


CARD = pattern("card", r"\d{4}(?:[ -]?\d{4}){3}(?:[ -]?\d{3})?", 23, check=check_named("stdnum.luhn", None))
MAIL = pattern("mail", r"[a-z0-9][a-z0-9._-]{0,20}@(?:[a-z0-9]{1,20}\.){1,3}[a-z]{2,9}", 60)
NAME = pattern("word", r"(?i:\L<words>)", 12, words={"words": ["blue harbour", "blue", "harbour x"]})
SECRET = pattern("secret", r"(?<=key[:=] {0,2})[a-z0-9]{4,12}(?![a-z0-9])", 12, whole=False)
BLOCK = pattern("block", r"<<(?: [a-z0-9]{4,9}){0,5}(?: >>)?", 60, whole=False)
LEXICON = Lexicon([CARD, MAIL, NAME, SECRET, BLOCK])

FRAGMENTS = [
    "4111", "1111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111", "4111 1111 1111 1112", "003",
    "a@b.com", "me.too@example.org", "@", ".com", "blue", "Blue harbour", "harbour", "x", "blueish", "key:", "key= ",
    "abcd", "ab12cd34", "<<", ">>", "<< abcd efgh >>", "漢", "。", "word", ",", ".", "-", "é", "\n", "\t", "  ",
    "a" * 70, "1" * 70, " " * 66,
]  # fmt: skip
texts = st.lists(
    st.tuples(st.sampled_from(FRAGMENTS), st.sampled_from(["", " ", " ", "\n"])), max_size=14
).map(lambda parts: "".join(fragment + gap for fragment, gap in parts))


def final(found):
    return [(e.pattern.category, e.span) for e in found.standing]


def whole(text, lexicon=LEXICON):
    found = lexicon.read(Reading(), text, ends_word=True)
    return [(e.pattern.category, e.span) for e in found.entities] + final(found)


def pieces(draw, text):
    """The text cut at some of the places where words end."""
    ends = word_ends(text, final=True)
    kept = sorted({end for end in ends if draw(st.booleans())} | {len(text)} - {0})
    return [text[start:end] for start, end in zip([0, *kept], kept, strict=False)]


def read(cuts, tries, lexicon=LEXICON):
    """What each piece brought; before it, the start of it is read and forgotten, as an open word is."""
    reading, steps = Reading(), []
    for number, piece in enumerate(cuts):
        if tries:
            lexicon.read(reading, piece[: 1 + number % len(piece)], ends_word=False)
        found = lexicon.read(reading, piece, ends_word=True)
        steps.append(found)
        reading = found.reading
    return steps


@settings(max_examples=150, deadline=None)
@given(data=st.data(), text=texts, tries=st.booleans())
def test_what_is_found_does_not_depend_on_the_cuts(data, text, tries):
    steps = read(pieces(data.draw, text), tries)
    got = [(e.pattern.category, e.span) for found in steps for e in found.entities]
    got += final(steps[-1]) if steps else []
    assert got == whole(text)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), text=texts)
def test_no_part_of_an_entity_is_called_clear_before_it_is_known(data, text):
    """Invariant 2 rests on it: text before the first pending place may leave."""
    cuts = pieces(data.draw, text)
    come, clear, known = 0, 0, set()
    for piece, found in zip(cuts, read(cuts, tries=False), strict=True):
        come += len(piece)
        for entity in found.entities:
            assert entity.span.start >= clear, "it had been called clear"
            known.add(entity.span)
        starts = [span.start for _, span in found.growing] + [e.span.start for e in found.standing]
        clear = min(starts, default=come)
        assert come - clear < max(p.longest for p in (CARD, MAIL, NAME, SECRET, BLOCK)) + AFTER


@settings(max_examples=100, deadline=None)
@given(text=texts, size=st.integers(1, 9))
def test_nor_does_it_depend_on_cuts_that_no_word_ends_at(text, size):
    """A long text is read in pieces, each of which but the last is known to go on."""
    reading, got = Reading(), []
    for start in range(0, len(text), size):
        last = start + size >= len(text)
        found = LEXICON.read(reading, text[start : start + size], ends_word=last)
        got += [(e.pattern.category, e.span) for e in found.entities]
        reading = found.reading
    assert got + (final(found) if text else []) == whole(text)


@settings(max_examples=100, deadline=None)
@given(text=texts)
def test_what_is_kept_of_a_text_is_bounded(text):
    reading = Reading()
    for start in range(0, len(text), 5):
        reading = LEXICON.read(reading, text[start : start + 5], ends_word=False).reading
        assert len(reading.kept) <= 64 + 60 + AFTER
        assert reading.start + len(reading.kept) == min(start + 5, len(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pay 4111 1111 1111 1111 now", [("card", Span(4, 23))]),
        ("pay 4111 1111 1111 1112 now", []),
        ("pay 4111 1111 1111 1111 004 now", [("card", Span(4, 23))]),  # the check rejects the last word
        ("x4111111111111111", []),
        ("a@b.com, c@d.org.", [("mail", Span(0, 7)), ("mail", Span(9, 16))]),
        ("漢a@b.com漢", [("mail", Span(1, 8))]),
        ("Blue  harbour", [("word", Span(0, 4))]),
        ("the BLUE HARBOUR y", [("word", Span(4, 16))]),
        ("blueish", []),
        ("key: abcd1 abcd1", [("secret", Span(5, 10))]),
        ("<< abcd efgh >> ij", [("block", Span(0, 15))]),
        ("<< abcd efgh", [("block", Span(0, 12))]),
        ("", []),
    ],
)
def test_what_stands_in_a_text(text, found):
    assert whole(text) == found


@pytest.mark.parametrize(
    ("text", "growing"),
    [
        ("pay 4111", {"card": Span(4, 8)}),
        ("pay 4111 1111 1111 1111", {"card": Span(4, 23)}),  # 003 might follow
        ("write to walk", {}),  # a word that has ended is no half of an address
        ("see blue", {"word": Span(4, 8)}),
        ("see bluest", {}),
        ("key:", {}),
        ("<<", {"block": Span(0, 2)}),
        ("a" * 64, {}),  # cut because it was too long, and too long for an address
        ("a" * 10 + "." * 54, {}),
    ],
)
def test_what_may_become_an_entity_is_told_with_its_place(text, growing):
    assert dict(LEXICON.read(Reading(), text, ends_word=True).growing) == growing


def test_an_open_word_may_become_an_address():
    found = LEXICON.read(Reading(), "write to wal", ends_word=False)
    assert dict(found.growing) == {"mail": Span(9, 12)}


def test_text_that_is_skipped_can_be_looked_back_at_and_holds_nothing():
    reading = LEXICON.skip(Reading(), "a@b.com key: ")
    found = LEXICON.read(reading, "abcd", ends_word=True)
    assert [(e.pattern.category, e.span) for e in found.entities] == [("secret", Span(13, 17))]


def test_the_first_pattern_counts_where_several_fit():
    first, second = pattern("a", r"\d{4}", 4), pattern("b", r"\d{4}-\d{2}", 7)
    assert whole("1234-56", Lexicon([first, second])) == [("a", Span(0, 4))]
    assert whole("1234-56", Lexicon([second, first])) == [("b", Span(0, 7))]


def test_a_match_longer_than_the_longest_form_is_none():
    assert whole("12345", Lexicon([pattern("a", r"\d+", 4)])) == []


def test_a_pattern_without_end_is_given_up_on(monkeypatch):
    monkeypatch.setattr("guardrail.engine.lexicon.TIMEOUT_S", 0.05)
    broken = Lexicon([pattern("a", r"(?:a|aa)+b", 400, whole=False)])
    with pytest.raises(TimeoutError):
        broken.read(Reading(), "a" * 90 + "c", ends_word=True)


@given(st.text())
def test_patterns_see_sign_by_sign(text):
    seen = blanked(text)
    assert len(seen) == len(text)
    assert all(b in {a, " "} for a, b in zip(text, seen, strict=True))
