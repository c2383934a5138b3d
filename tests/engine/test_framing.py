from __future__ import annotations

import pytest

from guardrail.engine.framing import Framed, frame
from guardrail.engine.tokenizer import TextTokenizer
from tests.engine.window_packs import byte_level_tokenizer, toy_tokenizer, unigram_tokenizer, window_tokenizer


@pytest.fixture
def tokenizer(tmp_path):
    def load(tokenizer):
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return TextTokenizer(tmp_path / "tokenizer.json")

    return load


def test_bert_separates_and_numbers_its_segments(tokenizer):
    bert = tokenizer(window_tokenizer())

    assert frame(bert, 1).wrap([9, 8]) == Framed((2, 9, 8, 3), (0, 0, 0, 0))
    assert frame(bert, 2).wrap([9], [8, 7]) == Framed((2, 9, 3, 8, 7, 3), (0, 0, 0, 1, 1, 1))
    assert (frame(bert, 1).size, frame(bert, 2).size) == (2, 3)


def test_roberta_separates_twice_and_numbers_nothing(tokenizer):
    roberta = tokenizer(byte_level_tokenizer())

    assert frame(roberta, 1).wrap([9]) == Framed((0, 9, 2), (0, 0, 0))
    assert frame(roberta, 2).wrap([9], [8]) == Framed((0, 9, 2, 2, 8, 2), (0, 0, 0, 0, 0, 0))


def test_a_probe_of_several_tokens_does_no_harm(tokenizer):
    unigram = tokenizer(unigram_tokenizer())
    assert len(unigram.encode_run("a").ids) > 1

    assert frame(unigram, 2).wrap([9], [8]) == Framed((0, 9, 2, 8, 2), (0, 0, 0, 1, 1))


def test_a_tokenizer_without_a_post_processor_frames_nothing(tokenizer):
    assert frame(tokenizer(toy_tokenizer()), 2).size == 0


def test_an_empty_segment_leaves_its_frame(tokenizer):
    assert frame(tokenizer(window_tokenizer()), 2).wrap([], []) == Framed((2, 3, 3), (0, 0, 1))
