"""The pool: what is chosen, what never is, and what each conversation teaches."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter

import numpy as np
import pytest

from classifiers.default import data
from classifiers.default.architecture import CATEGORIES
from classifiers.default.conversation import Span, held_back
from classifiers.default.data import (
    BENIGN_ANSWERS,
    Pool,
    asked_span,
    build,
    choose,
    conversation,
    echoes,
    mismatches,
    read_chitchat,
    read_rows,
    span_of,
    splice,
)
from classifiers.default.labels import ANY, INDEX
from tests.classifiers.default.made_up import answer, user

VIOLENCE = INDEX["violence"]


def trained(row):
    """`row`, worded so that it is not held back."""
    key = "prompt" if row["role"] == "assistant" and row["prompt"] else "text"
    for number in range(999):
        if not held_back(row):
            return row
        row |= {key: f"{row[key].rstrip('0123456789')}{number}"}
    raise AssertionError(row)


def kept_back(row):
    """`row`, worded so that it is held back."""
    key = "prompt" if row["role"] == "assistant" and row["prompt"] else "text"
    for number in range(999):
        if held_back(row):
            return row
        row |= {key: f"{row[key].rstrip('0123456789')}{number}"}
    raise AssertionError(row)


def pool_rows():
    """A handful of rows of every kind, some held back, some not to be trained on."""
    rows = []
    for number in range(12):
        ask = f"Question number {number} about gardens "
        said = f"Plant them in spring. Water them well. Then wait for week {number} to pass."
        rows.append(trained(answer(said, ask, src="self_instruct_user")))
        bad = f"Sure. Go and hurt him on day {number}. Then run."
        rows.append(trained(answer(bad, f"How do I hurt {number} ", {"violence": 2}, src="made_up_answers")))
        rows.append(trained(user(f"I hate all of them {number} ", {"hate_harassment": 2}, src="edos")))
        rows.append(trained(user(f"A neutral remark {number} ", src="edos")))
        rows.append(kept_back(answer(f"secretly {said}", f"heldback {ask}", src="self_instruct_user")))
        rows.append(kept_back(user(f"heldback greeting {number} ", src="arena_hard_prompts")))
        rows.append(user(f"proprietary text {number}", {"drugs": 2}, lic="B"))
        rows.append(answer(f"proprietary answer {number}", "proprietary?", {"drugs": 2}, lic="B"))
        rows.append(user(f"unjudged text {number}", harm=None))
    return rows


@pytest.fixture
def few(monkeypatch):
    """Fewer combinations, so that a pool is made in no time."""
    monkeypatch.setattr(data, "SPLICES", 40)
    monkeypatch.setattr(data, "MISMATCHES", 30)


OWN = [
    user("I feel so low today", {"mental_distress": 1}, src="written_crisis"),
    answer("Bread needs flour.", "How is bread made?", src="generated_everyday", user={}),
]


def pool_of(encoder, seed=1):
    return build(pool_rows(), [dict(row) for row in OWN], encoder, random.Random(seed))


def texts_of(pool, encoder):
    """Every conversation of a pool, as words."""
    pairs = zip(pool.offsets, pool.offsets[1:], strict=False)
    return [" ".join(map(encoder.tokenizer.id_to_token, pool.ids[a:b])) for a, b in pairs]


# -- choosing ----------------------------------------------------------------------------------------------


def test_only_tier_a_with_a_verdict_and_not_held_back_is_chosen():
    chosen = choose(pool_rows(), random.Random(1))
    assert chosen
    for row in chosen:
        assert row["lic"] == "A"
        assert row["harm"] is not None
        assert not held_back(row)
        assert "heldback" not in row["text"] + (row["prompt"] or "")
    wanted = [r for r in pool_rows() if r["lic"] == "A" and r["harm"] is not None and not held_back(r)]
    assert Counter(r["text"] for r in chosen) == Counter(r["text"] for r in wanted)


def capped(bad, good, cap, monkeypatch, seed=1):
    monkeypatch.setitem(data.CAPS, "made_up", cap)
    rows = [user(f"bad {n}", {"drugs": level}, harm=1) for n, level in enumerate(bad)]
    rows += [user(f"good {n}") for n in range(good)]
    return choose(rows, random.Random(seed))


@pytest.mark.parametrize(
    ("bad", "good", "cap", "expected"),
    [
        (30, 30, 20, (10, 10)),
        (30, 30, 21, (11, 10)),
        (3, 30, 20, (3, 17)),
        (30, 30, 0, (0, 0)),
        (5, 5, 20, (5, 5)),
    ],
)
def test_a_cap_is_kept_and_harmful_rows_are_at_most_half_of_it(bad, good, cap, expected, monkeypatch):
    chosen = capped([2] * bad, good, cap, monkeypatch)
    assert (sum(r["harm"] == 1 for r in chosen), sum(r["harm"] == 0 for r in chosen)) == expected


def test_a_source_that_has_no_cap_of_its_own_has_the_usual_one(monkeypatch):
    monkeypatch.setattr(data, "DEFAULT_CAP", 4)
    assert len(choose([user(f"one {n}", src="unheard_of") for n in range(9)], random.Random(1))) == 4


def test_of_a_script_that_cannot_be_read_only_harmless_rows_are_chosen():
    rows = [user("坏", {"drugs": 2}, lang="zh"), user("好", lang="zh"), user("Böse", {"drugs": 2}, lang="de")]
    assert {row["text"] for row in choose(rows, random.Random(1))} == {"好", "Böse"}


def test_another_seed_chooses_other_rows_and_the_same_seed_the_same(monkeypatch):
    first, again, other = (capped([2] * 50, 50, 20, monkeypatch, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_of_a_capped_source_the_severest_rows_are_kept(monkeypatch):
    chosen = capped([1] * 40 + [3] * 5, 50, 20, monkeypatch)
    assert sum(3 in r["labels"].values() for r in chosen) == 5


# -- the pool ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_nothing_that_is_held_back_or_proprietary_gets_into_the_pool(encoder):
    rows = pool_rows()
    assert any(held_back(row) for row in rows)
    texts = texts_of(pool_of(encoder), encoder)
    assert any("gardens" in text for text in texts)
    for word in ("held ##back", "secretly", "proprietary", "un ##ju ##dged"):
        assert not [text for text in texts if word in text], word


@pytest.mark.usefixtures("few")
def test_every_chosen_row_is_in_the_pool(encoder):
    pool = pool_of(encoder)
    chosen = choose(pool_rows(), random.Random(1))
    asked = {r["prompt"] for r in chosen}
    assert pool.counts["edos"] == sum(r["src"] == "edos" and r["text"] not in asked for r in chosen)
    # Twice each, in two settings.
    assert pool.counts["self_instruct_user"] == 24
    assert pool.counts["written_crisis"] == 2
    assert pool.counts["generated_everyday"] == 1
    assert (pool.counts["splices"], pool.counts["mismatches"], pool.counts["echoes"]) == (40, 30, 24)
    assert sum(pool.counts.values()) == len(pool.offsets) - 1


@pytest.mark.usefixtures("few")
def test_a_question_with_an_answer_is_scored_in_their_conversation_only(encoder):
    rows = pool_rows()
    question = user(rows[1]["prompt"], {"violence": 2}, src="questions")
    pool = build([*rows, question], [], encoder, random.Random(1))
    assert "questions" not in pool.counts


@pytest.mark.usefixtures("few")
def test_the_same_seed_gives_the_same_pool(encoder, tmp_path):
    for number, seed in enumerate((1, 1, 2)):
        pool_of(encoder, seed).save(tmp_path / f"{number}.npz")
    first, again, other = (np.load(tmp_path / f"{number}.npz") for number in range(3))
    assert all(np.array_equal(first[name], again[name]) for name in first.files)
    assert not np.array_equal(first["ids"], other["ids"])


@pytest.mark.usefixtures("few")
def test_spans_lie_within_their_conversations(encoder, tmp_path):
    pool_of(encoder).save(tmp_path / "pool.npz")
    pool = np.load(tmp_path / "pool.npz")
    example, start, end, role, onset = pool["spans"].T
    lengths = np.diff(pool["offsets"])
    assert pool["offsets"][0] == 0
    assert pool["offsets"][-1] == len(pool["ids"])
    assert (np.diff(example) >= 0).all()
    assert (start > 0).all()
    assert (start < end).all()
    assert (end <= lengths[example]).all()
    assert set(role) == {0, 1}
    assert (onset < end - start).all()
    assert pool["target"].shape == pool["weight"].shape == (len(example), len(CATEGORIES))
    # A span of the user follows the user's marker, one of the assistant the assistant's.
    before = pool["ids"][pool["offsets"][example] + start - 1]
    assert (before == np.where(role == 0, encoder.markers["user"], encoder.markers["assistant"])).all()


# -- conversations -----------------------------------------------------------------------------------------


def test_a_splices_onset_is_the_first_token_of_what_is_harmful(encoder):
    first = answer("Soups are warm. Salads are cold. Bread is in between them, and rolls are small.", "Food?")
    second = answer("Zap him. Then run.", "How?", {"violence": 2})
    harmful = encoder.pieces(second["text"])
    for seed in range(60):
        example = splice(first, second, second, encoder, random.Random(seed))
        span = example.spans[-1]
        turn = example.ids[span.start : span.end]
        assert 0 < span.onset < len(turn)
        assert turn[span.onset :] == harmful
        assert span.target[VIOLENCE] == 1


def test_of_a_harmful_answer_that_begins_well_a_splice_takes_what_is_harmful(encoder):
    first = answer("Soups are warm. Salads are cold. Bread is in between them.", "Food?")
    second = answer("I would not. Zap him.", "How?", {"violence": 2}) | {"onset": 12}
    span = (example := splice(first, second, second, encoder, random.Random(1))).spans[-1]
    assert example.ids[span.start + span.onset : span.end] == encoder.pieces("Zap him.")


def test_a_splice_of_two_harmless_answers_has_no_onset(encoder):
    first, second = answer("Soups are warm. Salads are cold.", "Food?"), answer("Paris.", "Where?")
    span = splice(first, second, first, encoder, random.Random(1)).spans[-1]
    assert span.onset == -1
    assert not span.target.any()


def test_a_splice_answers_the_one_who_asked(encoder):
    first, second = answer("Soups are warm.", "Food?"), answer("Zap him.", "Revenge?", {"violence": 2})
    for asker in (first, second):
        example = splice(first, second, asker, encoder, random.Random(1))
        text = " ".join(map(encoder.tokenizer.id_to_token, example.ids))
        assert asker["prompt"].lower().rstrip("?") in text


def test_a_mismatched_answer_is_judged_by_what_it_says(encoder):
    good = [
        answer(f"Soup {n} is warm.", f"Food {n}?", user={"drugs": 1}, before=[("user", "x")])
        for n in range(5)
    ]
    bad = [answer(f"Zap {n} him.", f"Revenge {n}?", {"violence": 2}, user={"violence": 2}) for n in range(5)]
    rows = list(mismatches(good, bad, random.Random(1), 60))
    assert len(rows) == 60
    by_text = {row["text"]: row for row in good + bad}
    questions = {row["prompt"] for row in good}, {row["prompt"] for row in bad}
    users = {row["prompt"]: user(row["prompt"], {"violence": 2}) for row in bad}
    for row in rows:
        own = by_text[row["text"]]
        assert (row["labels"], row["harm"]) == (own["labels"], own["harm"])
        # Somebody else's question, of the other kind.
        assert row["prompt"] in questions[1 - own["harm"]]
        example = conversation(row, users, encoder, random.Random(5), None)
        assert encoder.markers["user"] in example.ids
        (span,) = example.spans  # nobody judged the question in this company
        assert (span.role, span.target[VIOLENCE]) == (1, own["harm"])
    assert {row["harm"] for row in rows} == {0, 1}


def test_hate_in_the_assistants_mouth_stays_hate():
    rows = [user("hateful", {"hate_harassment": 2}, src="edos"), user("neutral", src="edos")]
    rows += [user("mild", {"hate_harassment": 1}, src="edos"), user("other", {"hate_harassment": 2})]
    found = {row["text"]: row for row in echoes(rows, random.Random(1), 9)}
    assert set(found) == {"hateful", "neutral"}
    assert {row["role"] for row in found.values()} == {"assistant"}
    assert span_of(found["hateful"], "assistant").target[INDEX["hate_harassment"]] == 1
    assert not span_of(found["neutral"], "assistant").target.any()


def seeds_of(encoder, row, users=(), context=None):
    """A row's conversation, many times over."""
    return [conversation(row, dict(users), encoder, random.Random(seed), context) for seed in range(200)]


def test_an_answers_onset_comes_along(encoder):
    text = "That I cannot do. But here is how you hurt him."
    row = answer(text, "How?", {"violence": 2}, onset=text.index("But"))
    for example in seeds_of(encoder, row):
        span = example.spans[-1]
        assert example.ids[span.start + span.onset : span.end] == encoder.pieces(text[row["onset"] :])


def test_now_and_then_an_answer_stands_without_its_question(encoder):
    row = answer("Fine.", "Revenge?", user={"violence": 2})
    examples = seeds_of(encoder, row)
    alone = [example for example in examples if len(example.spans) == 1]
    assert 4 < len(alone) < 40
    assert all(example.spans[0].role == 1 for example in alone)
    for example in examples:
        if len(example.spans) == 2:
            assert example.spans[0].target[VIOLENCE] == 1
            assert not example.spans[1].target.any()


def test_earlier_turns_are_context_without_a_target(encoder):
    row = answer("Fine.", "And now?", before=[("user", "Zero."), ("user", "One."), ("assistant", "Two.")])
    context = answer("Soup.", "Food?")
    example = conversation(row, {}, encoder, random.Random(5), context)
    text = " ".join(map(encoder.tokenizer.id_to_token, example.ids))
    for said in ("food ?", "soup .", "one .", "two ."):
        assert said in text
    assert "zero" not in text
    assert [span.role for span in example.spans] == [1]


def test_only_a_question_that_somebody_judged_is_scored():
    known = {"How?": user("How?", {"drugs": 2})}
    assert asked_span(answer("So.", "How?"), known).target[INDEX["drugs"]] == 1
    assert asked_span(answer("So.", "Who?", {"drugs": 2}), known) is None
    own = asked_span(answer("So.", "Who?", user={"drugs": 1}), {})
    assert 0 < own.target[INDEX["drugs"]] < 1
    assert (own.role, own.target[ANY]) == (0, np.float32(0.2))
    plain = asked_span(answer("So.", "Who?", src="arena_hard"), {})
    assert plain.role == 0
    assert not plain.target.any()
    # What was asked of these was risky, though the answers are good.
    for source in ("star1_safe", "med_safety_bench_safe"):
        assert source in BENIGN_ANSWERS
        assert asked_span(answer("So.", "Who?", src=source), {}) is None


def test_topics_without_a_label_are_masked():
    distress = user("so sad", {"mental_distress": 2}, src="caia_constructive", topic="mental_distress")
    assert span_of(distress, "user").weight[INDEX["self_harm"]] == 0
    address = user("He lives there", {"privacy_pii": 2}, src="presidio_synth")
    assert span_of(address, "user").weight[ANY] == 0
    own = user("my friend is low", {"mental_distress": 1}, unknown=["self_harm"])
    assert span_of(own, "user").weight[INDEX["self_harm"]] == 0


def test_a_conversation_without_a_scored_turn_is_kept_as_it_is():
    pool = Pool()
    example = type("Example", (), {"ids": [1, 2], "spans": []})
    pool.add(example, "a")
    pool.add(type("Example", (), {"ids": [3], "spans": [Span(1, start=0, end=1)]}), "b")
    assert (pool.ids, pool.offsets, pool.spans) == ([1, 2, 3], [0, 2, 3], [(1, 0, 1, 1, -1)])


# -- reading -----------------------------------------------------------------------------------------------


def test_rows_are_read_from_gzipped_lines(tmp_path):
    rows = [user("Grüße 😀"), answer("So.", "How?")]
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert list(read_rows(tmp_path / "rows.jsonl.gz")) == rows


def talk(*turns):
    return {"messages": [[{"text": text} for text in turn] for turn in turns]}


def test_small_talk_becomes_questions_and_answers(tmp_path):
    path = tmp_path / "dataset.json"
    talks = {"a": talk(["Hi", "there"], ["Hello"], ["How are", "you?"], ["Fine"], ["Bye"])}
    path.write_text(json.dumps(talks), encoding="utf-8")
    rows = list(read_chitchat(path, random.Random(1), 10))
    assert [(row["prompt"], row["text"]) for row in rows] == [("Hi there", "Hello"), ("Fine", "Bye")]
    assert all(
        (row["src"], row["harm"], row["labels"], row["lic"]) == ("chitchat", 0, {}, "A") for row in rows
    )


def test_small_talk_stops_at_its_limit(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({str(n): talk(["Hi"], [f"Hello {n}"]) for n in range(20)}), encoding="utf-8")
    assert len(list(read_chitchat(path, random.Random(1), 7))) == 7
