from __future__ import annotations

import pytest
from tokenizers import AddedToken, models, processors

from classifiers.convert.errors import ConversionError
from classifiers.convert.turns import role_entries, tokenization, turns_for
from guardrail.core.verdicts import Role
from tests.engine.chat_packs import chat_tokenizer
from tests.engine.window_packs import toy_tokenizer, unigram_tokenizer, window_tokenizer

HEADS = {Role.USER: 0, Role.ASSISTANT: 1}


def llama_tokenizer():
    tokenizer = chat_tokenizer()
    tokens = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in tokens])
    return tokenizer


def test_a_vocabulary_tells_how_turns_are_written():
    assert turns_for(chat_tokenizer(), None)[0] == "chatml"
    assert turns_for(toy_tokenizer(), None)[0] == "plain"
    llama = llama_tokenizer()
    llama_only = turns_for(llama, "llama3")[1]
    assert llama_only.start == "<|begin_of_text|>"
    assert role_entries(llama, llama_only, HEADS)["user"] == {
        "marker": ["<|start_header_id|>", "user", "<|end_header_id|>", "ĊĊ"],
        "head": 0,
        "end": ["<|eot_id|>"],
    }


def test_what_stands_around_turns_is_in_the_vocabularys_own_words():
    entries = role_entries(chat_tokenizer(), turns_for(chat_tokenizer(), "qwen3guard")[1], HEADS)

    assert entries["system"] == {
        "marker": ["<|im_start|>", "system", "Ċ"],
        "head": None,
        "end": ["<|im_end|>", "Ċ"],
    }
    assert entries["user"]["judged_at"] == "end"
    assert "judged_at" not in entries["assistant"]


def test_a_role_that_is_not_judged_is_not_judged_at_its_end():
    entries = role_entries(
        chat_tokenizer(), turns_for(chat_tokenizer(), "qwen3guard")[1], {Role.ASSISTANT: 0}
    )

    assert "judged_at" not in entries["user"]
    assert entries["user"]["head"] is None


def test_plain_turns_begin_as_the_tokenizer_begins():
    name, turns = turns_for(window_tokenizer(), None)

    assert (name, turns.start, turns.user.opens) == ("plain", "[CLS]", "")


def test_a_map_may_bring_its_own():
    name, turns = turns_for(chat_tokenizer(), {"user": {"opens": "<|im_start|>user\n"}})
    assert (name, turns.user.opens) == ("its own", "<|im_start|>user\n")
    with pytest.raises(ConversionError, match=r"turns\.user\.open: Extra inputs"):
        turns_for(chat_tokenizer(), {"user": {"open": "x"}})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("alpaca", "called 'alpaca'; known are: chatml, qwen3guard, llama3, plain"),
        ("llama3", "no token '<|begin_of_text|>'"),
    ],
)
def test_what_does_not_fit_is_named(given, reason):
    with pytest.raises(ConversionError) as caught:
        turns_for(chat_tokenizer(), given)

    assert reason in str(caught.value)


def test_a_tokenizer_tells_how_it_can_be_read():
    assert tokenization(chat_tokenizer()) == "runs"
    assert tokenization(toy_tokenizer()) == "words"
    with pytest.raises(ConversionError, match="a Unigram that is not byte-level"):
        tokenization(unigram_tokenizer())


def test_a_tokenizer_that_puts_several_tokens_before_a_text_has_no_one_start():
    tokenizer = window_tokenizer()
    assert isinstance(tokenizer.model, models.WordPiece)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])

    assert turns_for(tokenizer, "plain")[1].start is None
