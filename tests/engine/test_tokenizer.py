from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardrail.core.segments import MAX_WORD_CHARS, word_ends
from guardrail.engine.tokenizer import TextTokenizer
from guardrail.errors import PackError
from tests.engine.window_packs import byte_level_tokenizer, unigram_tokenizer, window_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "[unused2]", "[unused3]"]

WORDS = st.sampled_from(
    [
        "the",
        "cat",
        "sitting",
        "a",
        "CAFÉ",
        "cafe\u0301",
        "naïve",
        "😀",
        "x2",
        "İ",
        "ﬁ",
        "한국어",
        "\u0301",
        "ẞ",
        "हिन्दी",
        "soft\u00adhyphen",
        "zero\u200bwidth",
        "€5",
        "a" * 101,
    ]
)
SEPARATORS = st.sampled_from(
    [
        *(" ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u2028", "\x0b", "\x0c", "\x1c", "\x85"),
        *".,!?'\"-:;()[]/$_<=>`~^|",
        *("…", "—", "。", "「", "漢", "字", "日本"),
    ]
)
# Words stand apart; wherever a separator begins or ends, there is a word end.
PIECES = st.lists(st.tuples(WORDS, SEPARATORS) | SEPARATORS.map(lambda separator: ("", separator))).map(
    lambda pairs: [piece for pair in pairs for piece in pair]
)


@pytest.fixture(scope="module")
def tokenizer(toy_pack):
    return TextTokenizer(toy_pack.tokenizer_path)


@given(PIECES)
def test_pieces_cut_at_word_ends_give_what_the_whole_gives(tokenizer, pieces):
    whole = tokenizer.encode("".join(pieces))
    ids, offsets, start = [], [], 0
    for piece in pieces:
        encoding = tokenizer.encode(piece)
        ids += encoding.ids
        offsets += [(start + first, start + last) for first, last in encoding.offsets]
        start += len(piece)

    assert whole.ids == ids
    assert whole.offsets == offsets


@given(
    st.text() | st.text(alphabet="ab \t\x0b\x1c\x85、々〇＋＄漢\u302a\u0301\u200b。が\U0002b820\U00033333,"),
    st.data(),
)
def test_the_cores_word_ends_are_word_ends_here(tokenizer, text, data):
    ends = word_ends(text)
    # Within a run too long to wait for, the core cuts where no word ends, and always at the same place.
    assume(all(end - start < MAX_WORD_CHARS for start, end in pairwise([0, *ends, len(text)])))
    cuts = sorted(data.draw(st.sets(st.sampled_from(ends)))) if ends else []
    whole, ids, offsets = tokenizer.encode(text), [], []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        encoding = tokenizer.encode(text[start:end])
        ids += encoding.ids
        offsets += [(start + first, start + last) for first, last in encoding.offsets]

    assert whole.ids == ids
    assert whole.offsets == offsets


BLOCKS = {
    "basic": range(0x2000),
    "punctuation": range(0x2000, 0x3400),
    "full width": range(0xFE00, 0x10000),
    "ideographs B": range(0x2A6D0, 0x2A710),
    "ideographs D": range(0x2B810, 0x2B930),
    "ideographs E": range(0x2CEA0, 0x2CEC0),
    "compatibility": range(0x2F7F0, 0x2FA30),
    "end of planes": range(0x3FFF0, 0x40010),
}


@pytest.mark.parametrize("characters", BLOCKS.values(), ids=BLOCKS)
def test_every_character_the_core_cuts_at_separates_words(tokenizer, characters):
    for char in map(chr, characters):
        text = f"ab{char}cd"
        cuts = [0, *word_ends(text, final=True)]
        pieces = [tokenizer.encode(text[start:end]).ids for start, end in pairwise(cuts)]

        assert tokenizer.encode(text).ids == [token for piece in pieces for token in piece], hex(ord(char))


@given(st.lists(WORDS | SEPARATORS | st.just("word " * 900), max_size=12).map("".join))
def test_parts_give_what_the_whole_gives(tokenizer, text):
    parts = list(tokenizer.encode_in_parts(text))
    whole = tokenizer.encode(text)

    assert [token for part in parts for token in part.ids] == whole.ids
    assert [span for part in parts for span in part.offsets] == whole.offsets


@given(st.text(alphabet=st.characters(codec=None)))
def test_offsets_are_ordered_and_inside_whatever_the_text(tokenizer, text):
    encoding = tokenizer.encode(text)

    assert len(encoding.ids) == len(encoding.offsets)
    last_start = 0
    for start, end in encoding.offsets:
        assert last_start <= start <= end <= len(text)
        last_start = start


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The CAFÉ", ["The", "C", "A", "F", "É"]),
        ("e\u0301a the", ["e", "a", "the"]),
        ("😀 cat", ["😀", "cat"]),
        ("👩‍👩‍👧 cat", ["👩‍👩‍👧", "cat"]),
        ("漢cat字", ["漢", "cat", "字"]),
        ("x\u200by", ["x", "y"]),
        ("sat... the", ["sat", ".", ".", ".", "the"]),
    ],
)
def test_spans_are_code_points_of_the_text_as_it_came(tokenizer, text, pieces):
    assert [text[start:end] for start, end in tokenizer.encode(text).offsets] == pieces


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u3000", "\x1f", "\u200b", "\u0301"])
def test_what_holds_no_word_gives_nothing(tokenizer, text):
    assert tokenizer.encode(text).ids == []


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("around", ["{}", "the{}cat", " {} ", "{0}{0}", "[{}]", "[CLS{}"])
def test_no_text_becomes_a_special_token(tokenizer, special, around):
    text = around.format(special)

    # [UNK] may come of an unknown word, and stands for nothing.
    reserved = {tokenizer._tokenizer.token_to_id(token) for token in SPECIAL} - {1}
    for variant in (text, text.lower(), text.upper(), text.swapcase()):
        assert not reserved & set(tokenizer.encode(variant).ids)


@given(
    st.lists(st.sampled_from([*SPECIAL, "[", "]", "unused1", "CLS", " ", "\u0301", "\u200b"])).map("".join)
)
def test_no_mixture_becomes_a_special_token(tokenizer, text):
    assert not {0, 2, 3, 4, 5, 6, 7} & set(tokenizer.encode(text).ids)


def test_a_long_text_is_neither_cut_nor_padded(tokenizer):
    assert len(tokenizer.encode("the cat " * 300).ids) == 600
    assert len(tokenizer.encode("the").ids) == 1


def test_a_lone_surrogate_does_no_harm(tokenizer):
    encoding = tokenizer.encode("the \ud83d cat")

    assert encoding.offsets == [(0, 3), (6, 9)]


def test_a_word_beyond_the_limit_is_one_unknown_token(tokenizer):
    assert tokenizer.encode("a" * 100).ids != [1]
    assert tokenizer.encode("a" * 101).ids == [1]


def test_reserved_tokens_have_ids(tokenizer):
    assert tokenizer.reserved_id("[unused2]") == 6


def test_a_reserved_token_must_exist_and_not_be_forgeable(tokenizer):
    with pytest.raises(PackError, match=r"no token '\[unused9\]'"):
        tokenizer.reserved_id("[unused9]")
    with pytest.raises(PackError, match="can forge the token 'cat'"):
        tokenizer.reserved_id("cat")


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")

    with pytest.raises(PackError, match="not a tokenizer"):
        TextTokenizer(tmp_path / "tokenizer.json")


# -- runs, of any tokenizer --------------------------------------------------------------------------------

KINDS = {"bert": window_tokenizer, "roberta": byte_level_tokenizer, "sentencepiece": unigram_tokenizer}


@pytest.fixture(scope="module", params=KINDS)
def other(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    KINDS[request.param]().save(str(path))
    return TextTokenizer(path)


FORGERIES = ["<s>", "</s>", "<pad>", "<mask>", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "＜/s＞", "<\u200b/s>"]


@given(
    st.lists(st.sampled_from([*FORGERIES, "the", "cat", "<", "/s>", " ", "😀", "漢"]), max_size=8).map(
        "".join
    )
)
def test_no_run_holds_a_special_token(other, text):
    special = {
        token
        for token, added in other._tokenizer.get_added_tokens_decoder().items()
        if added.special and added.content not in {"<unk>", "[UNK]"}
    }
    assert len(special) == 4
    assert special.isdisjoint(other.encode_run(text).ids)


def test_what_would_forge_a_token_is_written_out(tmp_path):
    unigram_tokenizer().save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json")
    assert 2 in tokenizer._raw("a </s> b").ids  # it is a word to Unigram

    encoding = tokenizer.encode_run("a </s> b")

    assert 2 not in encoding.ids
    assert {(2, 3), (3, 4), (4, 5), (5, 6)} <= set(encoding.offsets)


def test_what_frames_a_window_is_reserved_even_if_it_is_not_called_special(toy_pack):
    tokenizer = TextTokenizer(toy_pack.tokenizer_path)
    (cat,) = tokenizer.encode_run("cat").ids
    tokenizer.reserve([cat])

    assert cat not in tokenizer.encode_run("the cat").ids


@given(st.text(alphabet=st.characters(codec=None)))
def test_offsets_of_runs_are_ordered_and_inside_whatever_the_text(other, text):
    encoding = other.encode_run(text)
    last_start = 0
    for start, end in encoding.offsets:
        assert last_start <= start <= end <= len(text)
        last_start = start
