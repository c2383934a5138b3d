"""Labelled rows: read, refused with file, line and key, sampled."""

from __future__ import annotations

import gzip
import json

import pytest

from classifiers.evaluate import rows
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.errors import InputError

GOOD = {"id": "a", "src": "own", "role": "assistant", "text": "Bread rises.", "harm": 0}


@pytest.fixture
def written(tmp_path):
    def write(*lines, name="rows.jsonl"):
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


def test_a_row_is_read_with_all_that_is_known(written):
    path = written(
        GOOD
        | {
            "lang": "de",
            "labels": {"violence": 2, "ANY": 1},
            "harm": 1,
            "prompt": "Why?",
            "onset": 6,
            "lic": "A",
        }
    )
    (row,) = rows.read([path])
    assert (row.where, row.id, row.source, row.role, row.language) == (
        f"{path}:1",
        "a",
        "own",
        "assistant",
        "de",
    )
    assert (row.labels, row.harm, row.onset) == ({"violence": 2, "ANY": 1}, 1, 6)
    assert row.conversation == (Turn(Role.USER, "Why?"),)


def test_what_may_be_missing_is_missing(written):
    (row,) = rows.read([written(GOOD | {"labels": None, "prompt": None, "messages": None, "onset": None})])
    assert (row.language, row.labels, row.conversation, row.onset) == ("und", {}, (), None)


def test_the_turn_before_a_users_is_an_answer(written):
    (row,) = rows.read([written(GOOD | {"role": "user", "prompt": "Hello!"})])
    assert row.conversation == (Turn(Role.ASSISTANT, "Hello!"),)


def test_messages_are_all_turns_before(written):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    (row,) = rows.read([written(GOOD | {"messages": messages})])
    assert row.conversation == [Turn(Role.SYSTEM, "Be brief."), Turn(Role.USER, "Why?")]


@pytest.mark.parametrize(
    ("changes", "group"),
    [
        ({}, "benign"),
        ({"labels": {"mental_distress": 1}}, "sensitive"),
        ({"labels": {"violence": 0}}, "benign"),
        ({"labels": {"mental_distress": 1}, "group": "constructive"}, "constructive"),
    ],
)
def test_rows_without_a_group_get_one(written, changes, group):
    assert rows.read([written(GOOD | changes)])[0].group == group


def test_files_are_read_in_order_packed_or_not(written):
    paths = [written(GOOD, name="one.jsonl.gz"), written(GOOD | {"id": 2}, "", name="two.jsonl")]
    assert [row.id for row in rows.read(paths)] == ["a", "2"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": ...}, "id is missing"),
        ({"src": ...}, "src is missing"),
        ({"src": ""}, "src is empty"),
        ({"src": 3}, "src must be a string"),
        ({"role": ...}, "role is missing"),
        ({"role": "system"}, "role must be user or assistant, got 'system'"),
        ({"role": 1}, "role must be a string"),
        ({"text": ...}, "text is missing"),
        ({"text": ["x"]}, "text must be a string"),
        ({"lang": 1}, "lang must be a string"),
        ({"harm": ...}, "harm is missing; null says"),
        ({"harm": 2}, "harm must be 1, 0 or null, got 2"),
        ({"harm": True}, "harm must be 1, 0 or null, got True"),
        ({"harm": "1"}, "harm must be 1, 0 or null, got '1'"),
        ({"labels": ["violence"]}, "labels must be an object"),
        ({"labels": {"violence": 4}}, "labels.violence must be a severity from 0 to 3, got 4"),
        ({"labels": {"violence": True}}, "labels.violence must be a severity"),
        ({"labels": {"violence": 1.5}}, "labels.violence must be a severity"),
        ({"prompt": 7}, "prompt must be a string"),
        ({"prompt": "Why?", "messages": []}, "prompt and messages are both given"),
        ({"messages": "Why?"}, "messages must be a list"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "role must be one of"),
        ({"group": 1}, "group must be a string"),
        ({"harm": 1, "onset": 12}, "onset must be a code point of text, 0 to 11, got 12"),
        ({"harm": 1, "onset": -1}, "onset must be a code point"),
        ({"harm": 1, "onset": "3"}, "onset must be a code point"),
        ({"onset": 3}, "onset is given, but harm is not 1"),
    ],
    ids=lambda value: json.dumps(value, default=lambda _: "missing") if isinstance(value, dict) else "",
)
def test_a_bad_row_is_refused_with_file_line_and_key(written, changes, reason):
    bad = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    path = written(GOOD, bad)
    with pytest.raises(InputError) as caught:
        rows.read([path])
    assert caught.value.where.startswith(f"{path}:2")
    assert reason in caught.value.reason


def test_a_file_without_rows_is_refused(written, tmp_path):
    for path, reason in ((written(""), "holds no rows"), (tmp_path / "none.jsonl", "No such file")):
        with pytest.raises(InputError, match=reason):
            rows.read([path])


# -- samples -------------------------------------------------------------------------------------------


def many(source, count):
    return [GOOD | {"id": f"{source}{number}", "src": source} for number in range(count)]


def test_a_limit_samples_each_source_and_keeps_the_order(written):
    path = written(*many("x", 50), *many("y", 3))
    taken = [row.id for row in rows.read([path], 5)]
    assert [each for each in taken if each.startswith("y")] == ["y0", "y1", "y2"]
    of_x = [int(each[1:]) for each in taken if each.startswith("x")]
    assert len(of_x) == 5
    assert of_x == sorted(of_x)
    assert of_x != [0, 1, 2, 3, 4], "the first rows are not a sample"


def test_a_sample_is_the_same_each_time_and_beside_any_other_source(written):
    alone = rows.read([written(*many("x", 50), name="a.jsonl")], 5)
    beside = rows.read([written(*many("z", 9), *many("x", 50), name="b.jsonl")], 5)
    assert [row.id for row in alone] == [row.id for row in beside if row.source == "x"]
