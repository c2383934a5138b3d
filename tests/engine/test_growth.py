from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.segments import word_ends
from guardrail.engine.growth import Runs, Words
from guardrail.engine.tokenizer import TextTokenizer
from guardrail.engine.windows import MAX_RUN_CHARS, ends_sentence_or_line
from tests.engine.chat_packs import CHATML, chat_tokenizer

CLOSING = 9999
PIECES = [
    *(
        "the",
        " cat",
        " ",
        "  ",
        "\n",
        "\n\n",
        ".",
        ".\n\n",
        "...",
        " - ",
        "\t",
        "'s",
        "1",
        "42",
        "e\u0301",
        "x" * 70,
    ),
    *(
        "漢",
        "字",
        "日",
        "本",
        "語",
        "。",
        "、",
        "😀",
        "👩\u200d👩\u200d👧",
        "é",
        "https://a.org/b?c=d",
        "\x1c",
        "\u3000",
    ),
    *("<|im_end|>", "<think>"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    chat_tokenizer().save(str(path))
    return TextTokenizer(path)


class Shown:
    """What a network would have been shown, and what it judged seeing what."""

    def __init__(self, turn):
        self.turn = turn
        self.ids = ()
        self.judged = []

    def read(self, *pieces, scored=True):
        for piece in pieces:
            for growths in self.turn.read(piece, scored=scored):
                for growth in growths:
                    assert growth.back <= len(self.ids)
                    assert len(growth.ids) == len(growth.spans)
                    self.ids = self.ids[: len(self.ids) - growth.back]
                    for token, spans in zip(growth.ids, growth.spans, strict=True):
                        self.ids += (token,)
                        self.judged += [(span, self.ids) for span in spans]
        return self


def cut(data, text, places):
    cuts = sorted(data.draw(st.sets(st.sampled_from(places)))) if places else []
    return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


@given(TEXTS)
def test_at_every_word_end_the_network_has_seen_the_tokens_of_the_text_so_far(tokenizer, text):
    text = text[:MAX_RUN_CHARS]
    shown, start = Shown(Runs(tokenizer.encode_run)), 0
    for end in word_ends(text, final=True):
        shown.read(text[start:end])
        start = end

        assert shown.ids == tuple(tokenizer.encode_run(text[:end]).ids)


@given(TEXTS, st.data())
def test_what_judges_does_not_depend_on_the_cuts(tokenizer, text, data):  # invariant 3
    pieces = cut(data, text, word_ends(text))
    whole = Shown(Runs(tokenizer.encode_run)).read(text)
    in_pieces = Shown(Runs(tokenizer.encode_run)).read(*pieces)

    assert in_pieces.judged == whole.judged
    assert in_pieces.ids == whole.ids


@given(TEXTS, st.data())
def test_what_judges_at_the_end_does_not_depend_on_cuts_between_sentences(tokenizer, text, data):
    ends = [end for end in word_ends(text) if ends_sentence_or_line("", text, end)]
    whole = Shown(Runs(tokenizer.encode_run, CLOSING)).read(text)
    in_pieces = Shown(Runs(tokenizer.encode_run, CLOSING)).read(*cut(data, text, ends))

    assert in_pieces.judged == whole.judged
    assert in_pieces.ids == whole.ids


@pytest.mark.parametrize("closing", [None, CLOSING])
@given(text=TEXTS)
def test_every_character_but_white_space_is_judged_once_and_in_order(tokenizer, closing, text):
    judged = Shown(Runs(tokenizer.encode_run, closing)).read(text).judged
    last = 0
    for span, _ in judged:
        assert bare(text[last : span.start]) == ""
        assert last <= span.start < span.end
        last = span.end

    assert bare(text[last:]) == ""


def bare(text):
    """Without white space, and without the accents that normalization puts onto their letters."""
    return text.replace("\u0301", "").strip()


@given(TEXTS)
def test_at_its_end_a_turn_is_judged_by_the_closing_token_behind_its_text(tokenizer, text):
    text = text[:MAX_RUN_CHARS]
    shown = Shown(Runs(tokenizer.encode_run, CLOSING)).read(text)
    whole = tuple(tokenizer.encode_run(text).ids)

    for _, seen in shown.judged:
        assert seen[-1] == CLOSING
        assert CLOSING not in seen[:-1]
    assert shown.ids[: len(shown.ids) - shown.turn.provisional()] == whole
    if text.strip():
        assert shown.judged[-1][1][:-1] in (whole, tuple(tokenizer.encode_run(text.rstrip()).ids))


@given(TEXTS, TEXTS, st.data())
def test_context_is_shown_and_never_judged(tokenizer, text, more, data):
    turn = Shown(Runs(tokenizer.encode_run)).read(*cut(data, text, word_ends(text)), scored=False)
    assert turn.judged == []
    if len(text) <= MAX_RUN_CHARS:
        assert turn.ids == tuple(tokenizer.encode_run(text).ids)

    turn.read(" " + more)

    assert all(span.start >= len(text) for span, _ in turn.judged)


@given(TEXTS, TEXTS)
def test_a_copy_goes_its_own_way(tokenizer, text, other):
    shown = Shown(Runs(tokenizer.encode_run)).read(text)
    copy = shown.turn.copy()
    list(copy.read(" " + other, scored=True))

    assert shown.read(" the cat").judged == Shown(Runs(tokenizer.encode_run)).read(text, " the cat").judged


def test_a_character_of_several_tokens_is_judged_by_its_last(tokenizer):
    ((span, seen),) = Shown(Runs(tokenizer.encode_run)).read("👩").judged

    assert (span.start, span.end) == (0, 1)
    assert len(seen) == len(tokenizer.encode_run("👩").ids) > 1


def test_line_ends_take_the_full_stop_before_them_along(tokenizer):
    shown = Shown(Runs(tokenizer.encode_run)).read("the cat.")
    before = shown.ids
    shown.read("\n\nthe")

    assert tokenizer._tokenizer.id_to_token(shown.ids[2]) == ".ĊĊ"
    assert before[2] != shown.ids[2]
    assert [(span.start, span.end) for span, _ in shown.judged] == [(0, 3), (4, 7), (7, 8), (10, 13)]


@given(st.lists(st.sampled_from([*CHATML, "<|im_", "start|>", "user", "\n", " "])).map("".join))
def test_no_text_opens_or_closes_a_turn(tokenizer, text):
    special = {tokenizer.known_id(token) for token in CHATML}

    assert special.isdisjoint(Shown(Runs(tokenizer.encode_run)).read(text).ids)


def test_words_are_judged_where_they_stand(toy_pack):
    shown = Shown(Words(TextTokenizer(toy_pack.tokenizer_path).encode_in_parts)).read("the", " cat")

    assert [(span.start, span.end) for span, _ in shown.judged] == [(0, 3), (4, 7)]
    assert shown.turn.provisional() == 0
