"""Ways to cut a text keep all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardrail.testing.chunking import at, by_character, randomly, three_ways, whole


@given(st.text(), st.integers(0, 99), st.lists(st.integers(-5, 50)))
def test_chunks_join_to_the_text_and_none_is_empty(text, seed, cuts):
    for chunks in (*three_ways(text, seed), at(text, cuts)):
        assert "".join(chunks) == text
        assert all(chunks)


def test_whole_is_one_chunk_and_of_nothing_none():
    assert (whole("ab"), whole("")) == (["ab"], [])


def test_characters_are_code_points():
    assert by_character("e\u0301🙂") == ["e", "\u0301", "🙂"]


def test_cuts_out_of_range_repeated_or_unordered_are_no_trouble():
    assert at("abcdef", [4, 2, 2, 0, 6, 9, -1]) == ["ab", "cd", "ef"]


def test_random_cuts_come_again_with_their_seed_and_vary_with_it():
    text = "a longer text that has many places to cut " * 4
    assert randomly(text, 1) == randomly(text, 1)
    assert len({tuple(randomly(text, seed)) for seed in range(9)}) > 1


def test_random_cuts_are_about_as_far_apart_as_asked():
    chunks = randomly("x" * 4000, 7, mean_chars=8)
    assert 350 < len(chunks) < 650
