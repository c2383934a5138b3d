"""Windows are a pure function of the text (invariant 3): the rules, told twice, and whatever the cuts."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from guardrail.core.segments import word_ends
from guardrail.engine.tokenizer import Encoding, TextTokenizer
from guardrail.engine.windows import MAX_RUN_CHARS, Turn, Windowing, ends_sentence_or_line
from tests.engine.window_packs import byte_level_tokenizer, unigram_tokenizer, window_tokenizer

TOKENIZERS = {"wordpiece": window_tokenizer, "bytes": byte_level_tokenizer, "unigram": unigram_tokenizer}
RULES = Windowing("words", capacity=12, stride=4)

TEXTS = st.lists(
    st.sampled_from(
        [
            *(
                "the",
                "cat",
                "sitting",
                "naïve",
                "cafe\u0301",
                "😀",
                "👩‍👩‍👧",
                "漢字日本語",
                "한국어",
                "हिन्दी",
                "x2",
            ),
            *(
                " ",
                "  ",
                "\n",
                "\n\n",
                "\t",
                "\u3000",
                "\x0b",
                "\x1c",
                "\x85",
                "\u200b",
                "\ud83d",
                "</s>",
                "<mask>",
            ),
            *(".", ",", "!", "。", "…", '"', "[SEP]", "https://example.org/a/b?c=" + "d" * 50),
        ]
    ),
    max_size=40,
).map("".join)


@pytest.fixture(scope="module", params=TOKENIZERS)
def encode(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    TOKENIZERS[request.param]().save(str(path))
    return TextTokenizer(path).encode_run


def letters(text):
    """A token a letter, its code for an id."""
    found = [(ord(char), (place, place + 1)) for place, char in enumerate(text) if not char.isspace()]
    return Encoding([token for token, _ in found], [span for _, span in found])


def read(encode, *pieces, rules=RULES):
    turn = Turn(encode, rules)
    return [window for piece in pieces for windows in turn.read(piece) for window in windows]


def spans(windows):
    return [(span.start, span.end) for window in windows for span in window.spans]


def runs(text):
    return re.findall(r"\s*\S+|\s+$", text)


def cut(data, text, ends):
    cuts = sorted(data.draw(st.sets(st.sampled_from(ends)))) if ends else []
    return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


# -- where windows begin and end ---------------------------------------------------------------------------


def test_a_window_ends_at_every_word_end_and_begins_on_the_grid():
    windows = read(letters, "abcd efgh ijkl m", rules=Windowing("words", capacity=9, stride=4))

    assert ["".join(map(chr, window.ids)) for window in windows] == [
        "abcd",
        "abcdefgh",
        "efghijkl",
        "efghijklm",
    ]
    assert spans(windows) == [(n, n + 1) for n in range(16) if n not in {4, 9, 14}]


def test_a_word_longer_than_a_window_is_judged_by_several():
    windows = read(letters, "ab" + "c" * 20, rules=Windowing("words", capacity=8, stride=4))

    assert [len(window.ids) for window in windows] == [8, 8, 8, 8, 6]
    assert [len(window.spans) for window in windows] == [8, 4, 4, 4, 2]


def test_sentences_are_judged_whole_where_they_fit():
    rules = Windowing("sentences", capacity=8, stride=4)
    windows = read(letters, "ab cd. ef! gh\nijklmnopqrst uv", rules=rules)

    assert ["".join(map(chr, window.ids)) for window in windows] == [
        "abcd.",
        "abcd.ef!",
        ".ef!gh",
        "ghijklmn",
        "klmnopqr",
        "opqrstuv",
    ]
    assert [len(window.spans) for window in windows] == [5, 3, 2, 6, 4, 4]


def test_where_a_sentence_ends_depends_on_what_was_said_before():
    """ "3." begins a list where a line begins, and ends a sentence elsewhere."""
    rules = Windowing("sentences", capacity=40, stride=4)
    windows = read(letters, "ab cd.", " 3. Ef gh", rules=rules)

    assert [window.spans[-1].end for window in windows] == [6, 9, 15]
    assert windows == read(letters, "ab cd. 3. Ef gh", rules=rules)


def test_a_turn_that_is_not_judged_is_remembered():
    turn = Turn(letters, Windowing("never", capacity=8, stride=4), remembered=20)

    assert not any(turn.read("ab cd ef " * 20))
    assert "".join(map(chr, turn.last_ids(5))) == "bcdef"
    assert len(turn.last_ids(100)) == 20
    assert turn.last_ids(0) == ()


def test_windows_in_a_row_overlap():
    rules = Windowing("words", capacity=10, stride=3)
    for end in range(1, 60):
        begin = rules.begin(end)
        assert begin % 3 == 0
        assert begin == 0 or 7 < end - begin <= 10
        assert rules.begin(rules.furthest(begin)) == begin


@given(st.integers(0, 500), st.integers(1, 40), st.integers(0, 40))
def test_the_furthest_window_still_holds_the_token(first, stride, more):
    rules = Windowing("words", capacity=stride + more, stride=stride)
    furthest = rules.furthest(first)

    assert furthest > first
    assert rules.begin(furthest) <= first < rules.begin(furthest + 1) + stride


def plainly(encode, text, rules):
    """The rules told as simply as can be: everything anew for each word end."""
    windows, judged = [], 0
    for end in word_ends(text, final=True):
        tokens, start = [], 0
        for run in runs(text[:end]):
            encoding = encode(run)
            tokens += [
                (token, start + last if run[first:last].strip() else 0)
                for token, (first, last) in zip(encoding.ids, encoding.offsets, strict=True)
            ]
            start += len(run)
        first = next((n for n, (_, last) in enumerate(tokens) if last > judged), None)
        if first is None:
            continue
        last = len(tokens) if rules.begin(len(tokens)) <= first else rules.furthest(first)
        while True:
            windows.append(tuple(token for token, _ in tokens[rules.begin(last) : last]))
            if last == len(tokens):
                break
            last = min(len(tokens), last + rules.stride)
        judged = end
    return windows


@given(TEXTS)
@example("thethethethecafé</s>\x1c<mask>https://example.org/a/b?c=" + "d" * 50)
def test_a_window_holds_what_its_text_gives(encode, text):
    assume(max(map(len, runs(text)), default=0) <= MAX_RUN_CHARS)
    rules = Windowing("words", capacity=90, stride=20)

    assert [window.ids for window in read(encode, text, rules=rules)] == plainly(encode, text, rules)


@given(TEXTS)
def test_everything_but_white_space_is_judged_once_and_in_order(encode, text):
    last = 0
    for start, end in spans(read(encode, text)):
        assert last <= start < end <= len(text)
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        last = end


# -- cuts --------------------------------------------------------------------------------------------------


@given(TEXTS, st.data())
def test_windows_do_not_depend_on_the_cuts(encode, text, data):  # invariant 3
    pieces = cut(data, text, word_ends(text))

    assert read(encode, *pieces) == read(encode, text)


@given(TEXTS, st.data())
def test_windows_of_sentences_do_not_depend_on_cuts_between_sentences(encode, text, data):
    rules = Windowing("sentences", capacity=12, stride=4)
    whole = read(encode, text, rules=rules)
    found = [end for end in word_ends(text) if end in {window.spans[-1].end for window in whole[:-1]}]
    ends = [end for end in found if ends_sentence_or_line("", text, end)]

    assert read(encode, *cut(data, text, ends), rules=rules) == whole


@given(TEXTS, TEXTS)
def test_a_copy_goes_its_own_way(encode, text, other):
    turn, same = Turn(encode, RULES), Turn(encode, RULES)
    list(turn.read(text))
    list(same.read(text))
    list(turn.copy().read(other + " x"))

    assert list(turn.read(" the cat")) == list(same.read(" the cat"))


def test_a_turn_keeps_no_more_than_it_may_need():
    turn = Turn(letters, RULES)
    list(turn.read("abc " * 500))

    assert len(turn._closed) == RULES.capacity


def test_a_run_without_white_space_is_not_tokenized_anew_for_ever():
    seen = []

    def count(run):
        seen.append(len(run))
        return letters(run)

    read(count, "漢" * 1000)

    assert max(seen) == MAX_RUN_CHARS
