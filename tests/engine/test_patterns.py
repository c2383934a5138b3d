"""A pattern that cannot be used is refused by its place and key, before a stream is served (invariant 9)."""

from __future__ import annotations

import pytest
import yaml

from guardrail.engine.patterns import compiled, compiled_growing, read_patterns
from guardrail.errors import PackError

GOOD = {"name": "a", "category": "c", "match": "[0-9]{4}", "longest": 4}


@pytest.fixture
def read(tmp_path):
    def read(*patterns):
        file = tmp_path / "p.yaml"
        file.write_text(
            patterns[0] if isinstance(patterns[0], str) else yaml.safe_dump({"patterns": [*patterns]})
        )
        return read_patterns(tmp_path, file)

    return read


def test_a_pattern_stands_alone_unless_it_says_otherwise(read):
    (alone,) = read(GOOD)
    (inside,) = read({**GOOD, "whole": False})
    assert (compiled(alone).search("x1234"), compiled(alone).search("-1234-")[0]) == (None, "1234")
    assert compiled(inside).search("x12345")[0] == "1234"


def test_words_are_found_in_any_case_and_the_longest_form_is_theirs(read):
    (words,) = read({"name": "w", "category": "c", "words": ["Blue  harbour", "blue"]})
    assert words.longest == len("blue harbour")
    assert compiled(words).search("the BLUE HARBOUR.")[0] == "BLUE HARBOUR"
    assert compiled(words).search("bluish") is None


@pytest.mark.parametrize(
    ("text", "start"), [("12", 0), ("x 1234", 2), ("1234 ", 5), ("12a4", 4), ("123 1", 4), ("", 0)]
)
def test_what_may_grow_is_found_where_it_begins(read, text, start):
    (pattern,) = read(GOOD)
    hit = compiled_growing(pattern).search(text, partial=True)
    assert (len(text) if hit is None else hit.start()) == start


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"match": "[0-9"}, "match: is no regular expression: unterminated character set"),
        ({"match": "(a)b"}, r"match: has a group that captures: write (?:...)"),
        ({"match": "a*"}, "match: matches nothing at all"),
        ({"match": "漢字"}, "match: Han characters, CJK punctuation and full-width signs cannot be matched"),
        ({"match": "(?:a|aa)+b"}, "match: takes more than 0.1 s on 'aaa"),
        ({"match": "<(?: ?[a-z]{2,9}){1,30}>"}, "match: takes more than 0.1 s on '<aaa"),
        ({"match": ...}, "match: is missing, and so is words"),
        ({"words": ["x"]}, "match: goes without words"),
        ({"longest": ...}, "longest: is missing"),
        ({"longest": 5000}, "patterns.0.longest: Input should be less than or equal to 4096"),
        ({"match": ..., "words": ["x"]}, "longest: is that of the longest word; leave it out"),
        ({"match": ..., "longest": ..., "words": []}, "patterns.0.words: List should have at least 1 item"),
        ({"score": 0}, "patterns.0.score: Input should be greater than 0"),
        ({"check": "stdnum.nosuch"}, "check: 'stdnum.nosuch': python-stdnum has no such number"),
        ({"chek": "stdnum.luhn"}, "patterns.0.chek: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_named(read, changes, reason):
    entry = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    with pytest.raises(PackError) as caught:
        read(entry)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("patterns: {", "p.yaml:1: "),
        ("- a", "file: Input should be a valid dictionary"),
        ("patterns: []", "patterns: List should have at least 1 item"),
        ("patterns: [{name: a}, {name: a}]", "patterns.0.category: Field required"),
    ],
)
def test_a_file_that_is_none_of_patterns_is_refused(read, text, reason):
    with pytest.raises(PackError) as caught:
        read(text)
    assert reason in str(caught.value)


def test_two_of_the_same_name_are_refused(read):
    with pytest.raises(PackError, match="two have the same name"):
        read(GOOD, GOOD)
