"""Every emoji is a token of its own, wherever it stands, and nothing else changes."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from classifiers.default.architecture import ROLE_MARKERS, START_TOKEN, Architecture
from classifiers.default.emoji import EMOJI, FIRST_SLOT, add_emoji, first_embeddings, load_tokenizer
from tests.classifiers.default.conftest import PACK

RAW = json.loads((PACK / "tokenizer.json").read_text("utf-8"))
TOKENIZER = load_tokenizer(PACK)


def without_emoji():
    """The pack's tokenizer as BERT's was, whether or not the pack has emoji already."""
    raw = copy.deepcopy(RAW)
    vocabulary = raw["model"]["vocab"]
    unused = (f"[unused{n}]" for n in range(FIRST_SLOT, 994))
    free = [name for name in unused if name not in vocabulary]
    taken = dict(zip(sorted((c for c in EMOJI if c in vocabulary), key=vocabulary.get), free, strict=False))
    raw["model"]["vocab"] = {taken.get(name, name): index for name, index in vocabulary.items()}
    raw["added_tokens"] = [token for token in raw["added_tokens"] if token["content"] not in taken]
    return raw


BEFORE = without_emoji()
PLAIN = Tokenizer.from_str(json.dumps(BEFORE | {"post_processor": None, "truncation": None, "padding": None}))
PLAIN.encode_special_tokens = True


def encode(text, tokenizer=TOKENIZER):
    return tokenizer.encode(text, add_special_tokens=False)


def test_there_are_emoji_and_none_twice():
    assert len(EMOJI) > 500
    assert len(set(EMOJI)) == len(EMOJI)
    assert all(not char.isalnum() and not char.isspace() for char in EMOJI)


@pytest.mark.parametrize(
    "frame", ["{}", "a{}b", "so {} there", "wow{}", "{}{}", "中{}国", "é{}!", "[{}]", "\n{}\n"]
)
def test_an_emoji_is_one_token_with_its_own_span(frame):
    for char in EMOJI:
        text = frame.format(*(char * frame.count("{}")))
        encoding = encode(text)
        found = [span for token, span in zip(encoding.tokens, encoding.offsets, strict=True) if token == char]
        assert found == [(place, place + 1) for place, one in enumerate(text) if one == char], text
        assert "[UNK]" not in encoding.tokens, text


@given(st.lists(st.sampled_from([*EMOJI[::40], "wow", " ", "ok.", "über", "漢", "\n", "don't"]), max_size=12))
def test_an_emoji_is_one_token_in_any_company(parts):
    text = "".join(parts)
    encoding = encode(text)
    emoji = {(place, place + 1) for place, char in enumerate(text) if char in EMOJI}
    assert emoji <= set(encoding.offsets)
    others = [span for span in encoding.offsets if span not in emoji]
    assert all(not (start <= place < end) for start, end in others for place, _ in emoji)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=EMOJI), max_size=60))
def test_text_without_emoji_tokenises_as_before(text):
    now, before = encode(text), encode(text, PLAIN)
    assert (now.ids, now.offsets) == (before.ids, before.offsets)


def test_words_keep_their_tokens():
    text = "Kill the process (pid 42), don't panic: naïve cafés cost 3.50 €!"
    assert encode(text).tokens == encode(text, PLAIN).tokens


def test_every_id_is_within_the_vocabulary_and_nobody_elses():
    now, before = TOKENIZER.get_vocab(), BEFORE["model"]["vocab"]
    assert sorted(now.values()) == list(range(Architecture().vocabulary))
    assert {name: now[name] for name in before if name in now} == {
        n: i for n, i in before.items() if n in now
    }
    for gone in set(before) - set(now):
        assert gone.startswith("[unused")
        assert int(gone[7:-1]) >= FIRST_SLOT
    assert {START_TOKEN, *ROLE_MARKERS.values()} <= set(now)


def test_adding_twice_is_adding_once():
    once = add_emoji(copy.deepcopy(BEFORE))
    assert add_emoji(copy.deepcopy(once)) == once
    assert once != BEFORE


def test_a_saved_tokenizer_loads_as_the_same(tmp_path):
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    again = load_tokenizer(tmp_path)
    assert again.get_vocab() == TOKENIZER.get_vocab()
    assert encode("well 😀 then", again).ids == encode("well 😀 then").ids
    assert first_embeddings(tmp_path) == {}


def test_what_it_is_given_is_left_alone():
    raw = copy.deepcopy(BEFORE)
    add_emoji(raw)
    assert raw == BEFORE


def test_a_vocabulary_with_too_few_free_slots_is_refused():
    raw = copy.deepcopy(BEFORE)
    raw["model"]["vocab"] = {
        name: index for name, index in raw["model"]["vocab"].items() if not name.startswith("[unused9")
    }
    with pytest.raises(ValueError, match=f"{len(EMOJI)} emoji for"):
        add_emoji(raw)


@pytest.mark.parametrize("name", ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[unused1]", "[unused20]"])
def test_no_text_forges_a_special_token(name):
    for text in (name, f"hello {name} there", f"a{name}b", f"😀{name}😀"):
        encoding = encode(text)
        assert name not in encoding.tokens, text
        assert encoding.offsets[0][0] == 0
        assert encoding.offsets[-1][1] == len(text)


def test_nothing_is_cut_or_padded():
    assert len(encode("word " * 1000).ids) == 1000
    assert len(TOKENIZER.encode("word").ids) == 1


def test_a_new_emoji_begins_as_the_words_of_its_name(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(BEFORE), encoding="utf-8")
    first = first_embeddings(tmp_path)
    assert len(first) == len(EMOJI)
    grin = load_tokenizer(tmp_path).token_to_id("😀")
    assert encode("grinning face").ids == first[grin]
    unknown = TOKENIZER.token_to_id("[UNK]")
    for token, pieces in first.items():
        assert pieces, token
        assert set(pieces) != {unknown}, token
        assert not set(pieces) & set(first), token
