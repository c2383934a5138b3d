"""The generator's rows: the same from the same seed, and labelled as they are meant."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from classifiers.default import own_words as module
from classifiers.default.architecture import CATEGORIES
from classifiers.default.generated import generate
from classifiers.default.own_words import own_words


@pytest.fixture(scope="module")
def rows():
    return list(generate(1, 0.2))


def test_the_same_seed_gives_the_same_rows(rows):
    assert list(generate(1, 0.2)) == rows
    assert [row["text"] for row in generate(2, 0.2)] != [row["text"] for row in rows]


def test_every_row_is_in_the_data_format(rows):
    assert len(rows) > 1500
    for row in rows:
        assert row["role"] in {"user", "assistant"}
        assert row["text"].strip()
        assert not {"{", "}"} & set(row["text"] + (row["prompt"] or "")), row
        for labels in (row["labels"], row.get("user", {})):
            assert set(labels) <= set(CATEGORIES[:-1])
            assert set(labels.values()) <= {1, 2, 3}
        assert (row["role"] == "assistant") == (row["prompt"] is not None)
        severe = [level for name, level in row["labels"].items() if name != "mental_distress"]
        assert row["harm"] == int(max(severe, default=0) >= 2)


def test_an_answer_that_turns_around_is_harmless_before_its_onset(rows):
    turned = [row for row in rows if "onset" in row]
    assert turned
    complied = {row["text"][:12] for row in rows if row["src"] == "generated_comply"}
    for row in turned:
        assert 0 < row["onset"] < len(row["text"])
        assert row["harm"] == 1
    assert sum(row["text"][row["onset"] :][:12] in complied for row in turned) > len(turned) / 2


def test_a_request_is_answered_both_ways(rows):
    bad = {row["prompt"] for row in rows if row["src"] == "generated_comply"}
    good = {row["prompt"] for row in rows if row["src"] == "generated_constructive"}
    assert bad == good
    assert bad


def test_what_the_composer_says_is_harmless_and_comes_once(monkeypatch):
    said = [(None, SimpleNamespace(text=f"You are not alone, {number % 60}.")) for number in range(90)]
    monkeypatch.setattr(module, "load_composer", lambda: None)
    monkeypatch.setattr(module, "every_composition", lambda _: iter(said))
    rows = list(own_words(1))
    assert sorted(row["text"] for row in rows) == sorted({one.text for _, one in said})
    assert {(row["harm"], len(row["labels"]), row["role"]) for row in rows} == {(0, 0, "assistant")}
    assert rows == list(own_words(1)) != list(own_words(2))
    monkeypatch.setattr(module, "ROWS", 20)
    assert list(own_words(1)) == rows[:20]
