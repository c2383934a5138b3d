"""What is measured on: two folds that never meet, groups, and the turns as a stream would have them."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter

import pytest

from classifiers.default import sets, written
from classifiers.default.conversation import held_back
from classifiers.default.sets import PROMPT_TOKENS, case, fold, held_back_rows, main, rows
from classifiers.evaluate.rows import read
from guardrail.core.verdicts import Role
from tests.classifiers.default.made_up import answer, user
from tests.classifiers.default.test_data import kept_back, talk, trained

HARMFUL = ("beavertails_test", "saferlhf_test", "gptfuzz_responses")


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A data directory and small talk, made up, and few rows of our own."""
    dev = [
        answer(f"So then, go and hurt him {n}.", f"How {n}?", {"violence": 2}, src=s)
        for s in HARMFUL
        for n in range(6)
    ]
    dev += [user(f"Delete process {n}", src="cyberseceval_frr") for n in range(6)]
    dev += [user(f"Some remark {n}", {"drugs": 2}, src="cyberseceval_frr") for n in range(6)]
    dev += [answer(f"Comfort {n}", f"Sad {n}", src="esconv") for n in range(6)]
    dev += [user(f"Without an id {n}", src="edos") for n in range(3)]
    for row in dev[-3:]:
        del row["id"]
    train = []
    for n in range(8):
        said = f"Plant them in spring. Water them well. Then wait for week {n} to pass."
        for source in ("arena_hard", "self_instruct_user"):
            train.append(kept_back(answer(said, f"Held-back question {n} ", src=source)))
            train.append(trained(answer(said, f"Trained question {n} ", src=source)))
    train.append(
        answer("Better.", "Human: one\n\nAssistant: two\n\nHuman: three", src="hh_harmless_test", id="x/1")
    )
    train.append(kept_back(user("Question ", src="star1_safe_prompts", id="x/2")))
    for name, members in (("dev", dev), ("train", train)):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in members)
    talks = {str(n): talk([f"Hello {n}"], [f"And hello to you {n}"]) for n in range(60)}
    (tmp_path / "dataset.json").write_text(json.dumps(talks), encoding="utf-8")

    few = tmp_path / "few"
    (few / "written").mkdir(parents=True)
    own = []
    for n in range(40):
        own.append(answer(f"Ordinary answer {n}", f"Ordinary question {n}", user={}))
        own.append(answer(f"Good answer {n}", f"Risky question {n}", user={"drugs": 2}))
        own.append(user(f"Killing time, part {n}"))
    (few / "written" / "ordinary.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in own), encoding="utf-8"
    )
    (few / "verdicts.tsv").write_text("id\tanswer\tonset\tuser\nx/1\tdrugs:1\t0\t0\n", encoding="utf-8")
    (few / "reread.tsv").write_text("id\tseverity\tonset\nx/9\t0\t\n", encoding="utf-8")
    asked = {"question": "x/2", "text": "An answer.", "answer": "0", "user": "0"}
    (few / "answered.jsonl").write_text(json.dumps(asked) + "\n", encoding="utf-8")
    monkeypatch.setattr(written, "HERE", few)
    monkeypatch.setattr(sets, "SPLICES", 40)
    monkeypatch.setattr(sets, "generate", lambda seed, scale: iter(GENERATED))
    monkeypatch.setattr(sets, "own_words", lambda seed: iter(OWN_WORDS))
    return tmp_path


OWN_WORDS = [
    {"src": "generated_own_words", "role": "assistant", "lang": "und", "text": f"You are not alone, {n}.",
     "prompt": None, "labels": {}, "harm": 0}
    for n in range(5)
]  # fmt: skip
GENERATED = [
    {"src": "generated_disclosure", "role": "user", "lang": "en", "text": "I am so low", "prompt": None,
     "labels": {"mental_distress": 1}, "harm": 0},
    {"src": "generated_comply", "role": "assistant", "lang": "en", "text": "No. But zap him.", "prompt": "How?",
     "labels": {"violence": 2}, "harm": 1, "user": {"violence": 2}, "onset": 4},
]  # fmt: skip


def all_rows(sources):
    return rows(sources, sources / "dataset.json")


# -- folds -------------------------------------------------------------------------------------------------


def test_a_row_keeps_its_fold():
    """These very rows: what operating points were fitted on must not be reported on."""
    assert [n for n in range(40) if fold(user(f"Text {n}")) == "fit"] == [
        1,
        2,
        3,
        5,
        6,
        7,
        8,
        10,
        11,
        13,
        14,
        15,
        18,
        20,
        21,
        22,
        23,
        24,
        25,
        28,
        32,
        34,
        37,
    ]
    folds = Counter(fold(user(f"Text {n}")) for n in range(2000))
    assert set(folds) == {"fit", "report"}
    assert folds["fit"] == pytest.approx(1000, abs=100)


def test_only_the_text_decides_on_the_fold():
    for n in range(50):
        same = (user(f"T {n}"), answer(f"T {n}", "Q", src="b"), answer(f"T {n}", None, {"drugs": 1}))
        assert len({fold(row) for row in same}) == 1


def test_the_fold_does_not_follow_from_being_held_back():
    held = [row for n in range(3000) if held_back(row := user(f"T {n}", src="written_x"))]
    assert {fold(row) for row in held} == {"fit", "report"}


def test_the_folds_are_disjoint_and_together_are_all(sources):
    found = all_rows(sources)
    fit, report = ({r["text"] for r in found if fold(r) == which} for which in ("fit", "report"))
    assert fit
    assert report
    assert not fit & report
    assert fit | report == {r["text"] for r in found}


# -- rows --------------------------------------------------------------------------------------------------


def test_what_was_trained_on_is_not_measured(sources):
    said = [row["text"] + " " + (row.get("prompt") or "") for row in all_rows(sources)]
    assert any("Held-back question" in text for text in said)
    assert not [text for text in said if "Trained question" in text]
    for row in held_back_rows(sources, sources / "dataset.json"):
        assert held_back(row)


@pytest.mark.parametrize(
    ("start", "group"),
    [
        ("Plant them", "ordinary"),
        ("Held-back question", "ordinary"),  # asked by users, answered by ordinary answers
        ("And hello", "ordinary"),
        ("Hello", "ordinary"),
        ("Comfort", "constructive"),
        ("Delete process", "lookalike"),
        ("Some remark", "dev"),  # harmful, of a set of look-alikes
        ("So then, go and hurt", "dev"),
        ("Ordinary answer", "ordinary"),
        ("Good answer", "constructive"),
        ("Killing time", "lookalike"),
        ("I am so low", "generated"),
        ("No. But zap him", "generated"),
        ("How?", "generated"),
    ],
)
def test_every_row_has_its_group(sources, start, group):
    found = [r for r in all_rows(sources) if r["text"].startswith(start) and r["src"] != "splices"]
    assert found
    assert {row["group"] for row in found} == {group}


def test_a_set_is_capped(sources, monkeypatch):
    monkeypatch.setattr(sets, "DEFAULT_MOST", 4)
    monkeypatch.setitem(sets.MOST_OF_A_SOURCE, "beavertails_test", 3)
    sizes = Counter(row["src"] for row in all_rows(sources))
    assert (sizes["esconv"], sizes["edos"], sizes["cyberseceval_frr"], sizes["beavertails_test"]) == (
        6,
        3,
        4,
        3,
    )


def test_a_splices_onset_is_where_the_harmful_answer_begins(sources):
    splices = [row for row in all_rows(sources) if row["src"] == "splices"]
    assert len(splices) == len({row["id"] for row in splices}) == 40
    for row in splices:
        opening, harmful = row["text"][: row["onset"]], row["text"][row["onset"] :]
        assert harmful.startswith("So then, go and hurt him")
        assert opening.startswith("Plant them")
        assert (row["harm"], row["group"]) == (1, "splice")


def test_the_same_sources_give_the_same_rows(sources):
    assert all_rows(sources) == all_rows(sources)


def test_a_generated_request_is_measured_too_and_has_no_onset(sources):
    (asked,) = [row for row in all_rows(sources) if row["text"] == "How?"]
    assert (asked["role"], asked["labels"], asked["harm"]) == ("user", {"violence": 2}, None)
    assert "onset" not in asked


def test_own_words_are_also_said_after_something_risky(sources):
    answering = [row for row in all_rows(sources) if row["src"] == "own_words_answering"]
    assert answering
    assert {row["prompt"] for row in answering} <= {"How?", "I am so low"}
    assert {(row["harm"], len(row["labels"])) for row in answering} == {(0, 0)}


# -- cases -------------------------------------------------------------------------------------------------


def test_a_case_is_the_turn_after_what_came_before(encoder):
    row = answer("Fine 😀.", "And now?", before=[["user", "Zero"], ["user", "One"], ["assistant", "Two"]])
    made = case(row | {"group": "dev"}, encoder)
    tokens = [encoder.tokenizer.id_to_token(one) for one in made.example.ids]
    assert tokens == ["[CLS]", "[unused1]", "one", "[unused2]", "two", "[unused1]", "and", "now", "?", "[unused2]",
                      "fine", "😀", "."]  # fmt: skip
    (span,) = made.example.spans
    assert (span.start, span.end, span.role, made.role) == (10, 13, 1, "assistant")
    assert made.judged == [0, 1, 2]


def test_of_a_users_turn_the_tokens_that_end_sentences_are_judged(encoder):
    made = case(user("I am dead. So funny\nReally"), encoder)
    pieces = encoder.pieces(made.row["text"])
    judged = [encoder.tokenizer.id_to_token(pieces[place]) for place in made.judged]
    assert judged == [".", "funny", "really"]


def test_a_user_may_answer_what_was_said(encoder):
    made = case(user("Yes.", prompt="Tea?"), encoder)
    assert made.example.ids[1] == encoder.markers["assistant"]


def test_a_long_prompt_is_cut(encoder):
    made = case(answer("Yes.", "word " * 300), encoder)
    assert len(made.example.ids) == 1 + 1 + PROMPT_TOKENS + 1 + 2


def test_a_long_users_turn_is_judged_within_what_is_scored(encoder):
    made = case(user("One two three. " * 200), encoder)
    (span,) = made.example.spans
    assert made.judged[-1] == span.end - span.start - 1


# -- as files ----------------------------------------------------------------------------------------------


def test_both_folds_are_written_as_evaluate_reads_them(sources, tmp_path, monkeypatch):
    out = tmp_path / "rows"
    arguments = ["--data", str(sources), "--chitchat", str(sources / "dataset.json"), "--output", str(out)]
    monkeypatch.setattr("sys.argv", ["sets", *arguments])
    monkeypatch.setattr(sets, "held_back", lambda row: held_back(row) or row["src"] == "hh_harmless_test")
    main()
    fit, report = read([out / "fit.jsonl"]), read([out / "report.jsonl"])
    expected = Counter(r["text"] for r in all_rows(sources))
    assert Counter(row.text for row in fit + report) == expected
    assert len({row.id for row in fit + report}) == len(fit + report)
    assert all(fold({"text": row.text}) == "fit" for row in fit)
    assert all(fold({"text": row.text}) == "report" for row in report)
    (several,) = [row for row in fit + report if row.source == "hh_harmless_test"]
    turns = [(turn.role, turn.text) for turn in several.conversation]
    assert turns == [(Role.USER, "one"), (Role.ASSISTANT, "two"), (Role.USER, "three")]
    assert {row.group for row in fit + report} == {r["group"] for r in all_rows(sources)}


def test_openings_and_harmful_answers_are_paired_by_chance():
    first = [answer(f"Opening {n}. And more of it, quite a bit more.", "Q") for n in range(5)]
    second = [answer(f"Harm {n}", "Q", {"drugs": 2}) for n in range(5)]
    made = list(sets._splices(first, second, random.Random(1), 60))
    assert {row["text"][row["onset"] :] for row in made} == {row["text"] for row in second}
    assert len({row["text"][: row["onset"]] for row in made}) >= 5
