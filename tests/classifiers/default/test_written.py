"""The rows of this project are valid, row by row, and become what training and measuring expect."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from classifiers.default import written as module
from classifiers.default.architecture import CATEGORIES
from classifiers.default.sets import known_onsets
from classifiers.default.written import answered, judged, parse_labels, reread, turns, written
from tests.classifiers.default.made_up import answer, user

HERE = Path(module.__file__).parent
RESOURCES = Path(__file__).resolve().parents[3] / "guardrail" / "interventions" / "data" / "resources"
FILES = sorted((HERE / "written").glob("*.jsonl"))
LANGUAGES = {"en", "de", "es"}


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def table(name):
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def faults_of_labels(labels):
    return [
        f"{name}: {level!r}"
        for name, level in labels.items()
        if name not in CATEGORIES or name == "any_harm" or type(level) is not int or not 1 <= level <= 3
    ]


def faults(row):
    """What is wrong with a row as it is written in `written/`."""
    found = faults_of_labels(row["labels"])
    if row["role"] not in {"user", "assistant"}:
        found.append(f"role {row['role']!r}")
    if set(row) - {"role", "lang", "text", "prompt", "labels", "user", "onset"}:
        found.append(f"keys {sorted(row)}")
    if row.get("lang", "en") not in LANGUAGES:
        found.append(f"language {row['lang']!r}")
    for key in ("text", "prompt"):
        if key in row and not (isinstance(row[key], str) and row[key].strip() == row[key] != ""):
            found.append(f"{key} {row[key]!r}")
    if row["role"] == "assistant":
        # An answer comes with its question, and with what the question asks for.
        found += ["no prompt"] * ("prompt" not in row) + faults_of_labels(row.get("user", {"missing": 0}))
    elif "user" in row:
        found.append("a user's turn labels another user's turn")
    if "onset" in row:
        found += ["onset of a harmless text"] * (not row["labels"])
        found += ["onset is not in the text"] * (row["text"].count(row["onset"]) == 0)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_written_row_is_valid(path):
    rows = lines(path)
    assert len(rows) > 100
    assert [(number, found) for number, row in enumerate(rows, 1) if (found := faults(row))] == []


GOOD = {
    "role": "assistant",
    "prompt": "May I?",
    "user": {},
    "text": "Yes. But hurt him.",
    "labels": {"violence": 2},
}


@pytest.mark.parametrize(
    "change",
    [
        {"role": "system"},
        {"labels": {"violense": 2}},
        {"labels": {"violence": 0}},
        {"labels": {"violence": 4}},
        {"labels": {"violence": "2"}},
        {"labels": {"any_harm": 2}},
        {"user": {"crime": 1}},
        {"text": ""},
        {"text": " Yes."},
        {"prompt": ""},
        {"onset": "not there"},
        {"onset": "But", "labels": {}},
        {"lang": "xx"},
        {"harm": 1},
    ],
)
def test_a_bad_row_would_be_found(change):
    assert faults(GOOD | {"onset": "But"}) == []
    assert faults(GOOD | change)
    assert faults({key: value for key, value in GOOD.items() if key != "prompt"})
    assert faults({key: value for key, value in GOOD.items() if key != "user"})


def two_labels(rows):
    """Texts that stand twice with different labels."""
    labels = defaultdict(set)
    for role, text, prompt, found in rows:
        labels[role, text, prompt].add(json.dumps(found, sort_keys=True))
    return [key for key, found in labels.items() if len(found) > 1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_text_has_two_labels_within_a_file(path):
    assert two_labels((r["role"], r["text"], r.get("prompt"), r["labels"]) for r in lines(path)) == []


def test_two_labels_would_be_found():
    assert two_labels([("user", "a", None, {"drugs": 1}), ("user", "a", None, {})]) == [("user", "a", None)]


def test_every_answer_of_the_small_model_is_valid():
    rows = lines(HERE / "answered.jsonl")
    assert len(rows) > 500
    twice = [
        one for one, count in Counter((row["question"], row["text"]) for row in rows).items() if count > 1
    ]
    assert twice == []
    for row in rows:
        assert set(row) <= {"question", "text", "answer", "user", "onset"}, row["question"]
        assert re.fullmatch(r"[a-z0-9_]+/\d+", row["question"])
        labels = parse_labels(row["answer"])
        assert faults_of_labels(labels) + faults_of_labels(parse_labels(row["user"])) == [], row["question"]
        assert row["text"].strip(), row["question"]
        if "onset" in row:
            assert labels, row["question"]
            assert 0 < row["onset"] < len(row["text"]), row["question"]


def test_every_verdict_is_valid():
    rows = table("verdicts.tsv")
    assert len(rows) > 1000
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert re.fullmatch(r"hh_harmless_test/\d+", row["id"])
        labels = parse_labels(row["answer"])
        assert faults_of_labels(labels) + faults_of_labels(parse_labels(row["user"])) == [], row["id"]
        assert None not in row, row["id"]
        if row["onset"]:
            assert labels, row["id"]
            assert int(row["onset"]) > 0, row["id"]


def test_every_second_verdict_is_valid():
    rows = table("reread.tsv")
    assert len({row["id"] for row in rows}) == len(rows) > 1000
    for row in rows:
        assert re.fullmatch(r"[a-z0-9_]+/\d+", row["id"])
        assert row["severity"] in {"0", "1", "2", "3"}, row["id"]
        assert row["onset"] == "" if row["severity"] == "0" else int(row["onset"] or 0) >= 0, row["id"]


def test_every_onset_of_a_development_row_is_valid():
    rows = table("onsets.tsv")
    assert len({row["id"] for row in rows}) == len(rows) > 100
    for row in rows:
        assert re.fullmatch(r"[a-z0-9_]+/\d+", row["id"])
        assert int(row["onset"]) >= 0, row["id"]
    assert known_onsets() == {row["id"]: int(row["onset"]) for row in rows}


# -- nothing that belongs to somebody ----------------------------------------------------------------------

EMAIL = re.compile(r"[\w.+-]+@(?!(?:[\w-]+\.)*example\b)[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}", re.IGNORECASE)
MACHINE = re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|work)/|\b[A-Z]:\\+Users\\+\w+")
PHONE = re.compile(
    r"(?<![\w/-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,5}\)[ .-]?|\d{1,5}[ .-]){1,6}\d{1,4}(?![\w-])|(?<![\w/-])\+?\d{10,12}(?![\w-])"
)
DATE = re.compile(r"\d{4}[-. ]\d{1,2}[-. ]\d{1,2}|\d{1,2}[-. ]\d{1,2}[-. ]\d{4}|\d{4}[-.] ?\d{4}")
COUNTED = re.compile(r"0?123456789?0?")


def helplines():
    """Digits of the numbers that this project gives out itself."""
    text = "\n".join(path.read_text("utf-8") for path in RESOURCES.glob("*.yaml"))
    return {re.sub(r"\D", "", one) for said in re.findall(r"phone: (.*)", text) for one in said.split("/")}


def private(text, allowed=frozenset()):
    """Mail addresses, paths of machines and telephone numbers that look real."""
    found = [match[0] for pattern in (EMAIL, MACHINE) for match in pattern.finditer(text)]
    for match in PHONE.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        made_up = "555" in digits or COUNTED.fullmatch(digits) or len(set(digits)) < 3
        if (
            len(digits) >= 8
            and digits not in allowed
            and not made_up
            and not DATE.fullmatch(match[0].strip())
        ):
            found.append(match[0])
    return found


@pytest.mark.parametrize("path", [*FILES, HERE / "answered.jsonl"], ids=lambda path: path.stem)
def test_no_row_holds_what_belongs_to_somebody(path):
    allowed = helplines()
    found = [
        (number, what)
        for number, row in enumerate(lines(path), 1)
        for key in ("text", "prompt")
        if (what := private(row.get(key) or "", allowed))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "write to jane.roe@gma" + "il.com please",
        "look in /ho" + "me/jane/notes",
        "look in C:\\Us" + "ers\\jane",
        "call 030 1234 9876",
        "call +44 20 7946 1234",
        "call (212) 867-1309 now",
        "call 2128671309",
    ],
)
def test_what_belongs_to_somebody_would_be_found(text):
    assert private(text)


@pytest.mark.parametrize(
    "text",
    ["jane@example.com", "call 555-0123 4567", "on 2024-11-24, in 2016-2020", "id 1234567890", "3.14159265"],
)
def test_what_belongs_to_nobody_may_stand(text):
    assert private(text) == []
    assert private("call 116 123 00", allowed={"11612300"}) == []


# -- as rows of the data format ----------------------------------------------------------------------------


def test_written_rows_are_in_the_data_format():
    rows = list(written())
    assert len(rows) == sum(len(lines(path)) for path in FILES)
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert row["src"] == f"written_{row['id'].split('/')[0].removeprefix('written_')}"
        assert row["lic"] == "A"
        assert row["harm"] in {0, 1}
        if "onset" in row:
            assert row["harm"] == 1, row["id"]
            assert 0 <= row["onset"] < len(row["text"])
        if row["role"] == "assistant":
            assert row["prompt"] is not None
            assert "user" in row


@pytest.mark.parametrize(
    ("role", "labels", "harm"),
    [
        ("user", {}, 0),
        ("user", {"drugs": 1}, 0),
        ("user", {"drugs": 2}, 1),
        ("user", {"mental_distress": 3}, 0),
        ("user", {"mental_distress": 3, "self_harm": 2}, 1),
        ("assistant", {}, 0),
        ("assistant", {"drugs": 1}, 1),
        ("assistant", {"mental_distress": 3}, 0),
    ],
)
def test_harm_follows_from_the_labels(role, labels, harm, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HERE", tmp_path)
    (tmp_path / "written").mkdir()
    row = {"role": role, "text": "Well now.", "labels": labels}
    (tmp_path / "written" / "few.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (made,) = written()
    assert (made["harm"], made["src"], made["lang"]) == (harm, "written_few", "en")


def test_the_onset_becomes_a_code_point(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HERE", tmp_path)
    (tmp_path / "written").mkdir()
    row = GOOD | {"text": "😀 Yes. But hurt him.", "onset": "But"}
    (tmp_path / "written" / "few.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (made,) = written()
    assert made["text"][made["onset"] :] == "But hurt him."


@pytest.mark.parametrize(
    ("text", "labels"), [("0", {}), ("drugs:1", {"drugs": 1}), ("drugs:1,cyber:3", {"drugs": 1, "cyber": 3})]
)
def test_labels_are_parsed(text, labels):
    assert parse_labels(text) == labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Just a question", [("user", "Just a question")]),
        ("Human: hi", [("user", "hi")]),
        ("Human: hi\n\nAssistant: hello", [("user", "hi"), ("assistant", "hello")]),
        (
            "\n\nHuman: hi\n\nAssistant: one\ntwo\n\nthree\n\nHuman: and?",
            [("user", "hi"), ("assistant", "one\ntwo\n\nthree"), ("user", "and?")],
        ),
        ("Human: he said Human: no", [("user", "he said Human: no")]),
        ("Is Assistant: a role?", [("user", "Is Assistant: a role?")]),
    ],
)
def test_a_conversation_is_parted_into_turns(text, expected):
    assert turns(text) == expected


@pytest.fixture
def verdicts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HERE", tmp_path)
    (tmp_path / "verdicts.tsv").write_text(
        "id\tanswer\tonset\tuser\nx/1\t0\t\tdrugs:1\nx/2\tviolence:2,cyber:1\t4\t0\n", encoding="utf-8"
    )
    (tmp_path / "reread.tsv").write_text(
        "id\tseverity\tonset\ny/0\t0\t\ny/1\t1\t0\ny/2\t2\t4\ny/3\t3\t\n", encoding="utf-8"
    )
    questions = [
        {"question": "x/7", "text": "Sure.", "answer": "drugs:2", "user": "drugs:2", "onset": 2},
        {"question": "x/8", "text": "No.", "answer": "0", "user": "drugs:2"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in questions)
    (tmp_path / "answered.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("verdicts")
def test_a_row_with_a_verdict_carries_it():
    said = "Human: hi\n\nAssistant: hello\n\nHuman: what now?"
    plain = answer("Good.", said, id="x/1", harm=None)
    bad = answer("And hurt him.", "what?", id="x/2", harm=None)
    good, harmful = judged([plain, bad])
    assert (good["labels"], good["harm"], good["user"], good["prompt"]) == ({}, 0, {"drugs": 1}, "what now?")
    assert good["before"] == [("user", "hi"), ("assistant", "hello")]
    assert "onset" not in good
    assert (harmful["labels"], harmful["harm"], harmful["onset"]) == ({"violence": 2, "cyber": 1}, 1, 4)
    assert (harmful["user"], harmful["before"], harmful["prompt"]) == ({}, [], "what?")
    assert plain["harm"] is None


@pytest.mark.usefixtures("verdicts")
def test_a_row_without_a_verdict_is_as_it_was():
    rows = [answer("Good.", "Human: hi", id="x/3"), user("hello", id="x/4")]
    assert list(judged(rows)) == rows
    assert list(reread(rows)) == rows


@pytest.mark.usefixtures("verdicts")
@pytest.mark.parametrize(
    ("name", "labels", "harm", "onset"),
    [
        ("y/0", {}, 0, None),
        ("y/1", {"violence": 1}, 1, 0),
        ("y/2", {"violence": 2}, 1, 4),
        ("y/3", {"violence": 2}, 1, None),
    ],
)
def test_what_the_second_reader_found_holds(name, labels, harm, onset):
    (row,) = reread([answer("And hurt him.", "what?", {"violence": 2}, id=name)])
    assert (row["labels"], row["harm"], row.get("onset")) == (labels, harm, onset)


@pytest.mark.usefixtures("verdicts")
def test_an_answer_to_what_opens_a_conversation_is_asked_that():
    said = "Human: hi\n\nAssistant: hello\n\nHuman: what now?"
    for rows in ([answer("Good.", said, id="x/7")], list(judged([answer("Good.", said, id="x/7")]))):
        assert [row["prompt"] for row in answered(rows)] == ["hi"]


def test_a_question_may_have_several_answers(tmp_path, monkeypatch):
    lines = [{"question": "x/1", "text": text, "answer": "0", "user": "0"} for text in ("Yes.", "No.")]
    (tmp_path / "answered.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8"
    )
    monkeypatch.setattr(module, "HERE", tmp_path)
    found = list(answered([user("Why?", id="x/1")]))
    assert [(row["id"], row["text"]) for row in found] == [
        ("smollm2_answers/x/1", "Yes."),
        ("smollm2_answers/x/1/1", "No."),
    ]


@pytest.mark.usefixtures("verdicts")
def test_a_row_needs_no_id():
    row = user("hello")
    del row["id"]
    assert list(judged([row])) == [row]
    assert list(answered([row])) == []


@pytest.mark.usefixtures("verdicts")
def test_the_small_models_answers_stand_beside_their_questions():
    asked = user("How?", {"drugs": 2}, id="x/7")
    first, second = answered([user("Else?", id="x/9"), asked, user("How else?", id="x/8")])
    assert (first["prompt"], first["text"], first["role"]) == ("How?", "Sure.", "assistant")
    assert (first["labels"], first["harm"], first["user"], first["onset"]) == (
        {"drugs": 2},
        1,
        {"drugs": 2},
        2,
    )
    assert (second["labels"], second["harm"], second["prompt"]) == ({}, 0, "How else?")
    assert "onset" not in second
    assert {first["lic"], second["lic"]} == {"A"}
