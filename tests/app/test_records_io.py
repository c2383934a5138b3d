"""Rows of JSON-lines files: read in order, refused with their place."""

from __future__ import annotations

import gzip

import pytest

from guardrail.app import records_io as rows
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.errors import InputError


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "in.jsonl"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_rows_come_in_order_with_their_place(written):
    path = written('{"id": 1}\n\n  \n{"id": "b"}')
    assert list(rows.read_rows(path)) == [(f"{path}:1", {"id": 1}), (f"{path}:4", {"id": "b"})]


def test_a_line_is_what_a_line_feed_ends_whatever_its_text_holds(written):
    # U+2028 and U+0085 are line ends to str.splitlines and ordinary text to JSON.
    text = '{"id": "a\u2028b\u0085c"}\r\n{"id": 2}\n'
    assert [row["id"] for _, row in rows.read_rows(written(text))] == ["a\u2028b\u0085c", 2]


def test_a_packed_file_is_unpacked(tmp_path):
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress('{"id": 1, "text": "\u65e5"}\n'.encode()))
    assert list(rows.read_rows(path)) == [(f"{path}:1", {"id": 1, "text": "\u65e5"})]


@pytest.mark.parametrize(
    "data",
    [b'{"id": 1}\n', gzip.compress(b'{"id": 1}\n' * 999)[:-9], gzip.compress(b"x")[:10] + b"\xff" * 20],
    ids=["not packed", "cut short", "damaged"],
)
def test_a_packed_file_that_cannot_be_unpacked_is_refused(tmp_path, data):
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(InputError, match="is not whole gzip") as caught:
        list(rows.read_rows(path))
    assert caught.value.where == str(path)


def test_an_empty_file_has_no_rows(written):
    assert list(rows.read_rows(written(""))) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": 1', "is not JSON"),
        ("nonsense", "is not JSON: Expecting value at column 1"),
        ("[1]", "must be a JSON object"),
        ('"text"', "must be a JSON object"),
        ('{"text": "x"}', "id is missing"),
        ('{"id": 1, "text": "\\ud83d"}', "half a surrogate pair"),
        ('{"id": 1, "chunks": ["\\uD83D", "\\uDE00"]}', "half a surrogate pair"),
        ('{"id": 1' + "0" * 5000 + "}", "beyond what can be read"),
        ("[" * 100_000, "beyond what can be read"),
    ],
    ids=lambda value: value[:30],
)
def test_a_bad_line_is_refused_with_its_number(written, line, reason):
    path = written('{"id": "fine"}\n' + line + "\n")
    with pytest.raises(InputError) as caught:
        list(rows.read_rows(path))
    assert caught.value.where == f"{path}:2"
    assert reason in caught.value.reason


def test_a_whole_surrogate_pair_is_one_character(written):
    ((_, row),) = rows.read_rows(written('{"id": "\\ud83d\\ude00"}'))
    assert row["id"] == "😀"


def test_a_file_that_is_not_utf8_is_refused(written):
    with pytest.raises(InputError, match="is not UTF-8"):
        list(rows.read_rows(written(b'{"id": "\xff"}')))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        list(rows.read_rows(tmp_path / "nowhere.jsonl"))


def test_a_string_is_taken_or_its_default():
    assert rows.text("f:1", {"text": "x"}, "text") == "x"
    assert rows.text("f:1", {"locale": "de"}, "locale", "") == "de"
    assert rows.text("f:1", {"locale": None}, "locale", "") == ""
    assert rows.text("f:1", {}, "locale", "") == ""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "text is missing"),
        ({"text": 3}, "text must be a string"),
        ({"text": None}, "text must be a string"),
    ],
)
def test_a_string_that_is_none_is_refused(row, reason):
    with pytest.raises(InputError, match=reason):
        rows.text("f:1", row, "text")


def test_roles_have_their_names_and_a_developer_is_the_system():
    assert [rows.role("f:1", name) for name in ("user", "assistant", "system", "developer")] == [
        Role.USER,
        Role.ASSISTANT,
        Role.SYSTEM,
        Role.SYSTEM,
    ]


@pytest.mark.parametrize("name", ["User", "tool", "", None, 3, ["user"]])
def test_other_roles_are_refused(name):
    with pytest.raises(InputError, match="role must be one of system, user, assistant"):
        rows.role("f:1", name)


def test_a_conversation_is_read_in_order():
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}
    assert rows.messages("f:1", row) == [Turn(Role.USER, "a"), Turn(Role.ASSISTANT, "")]


@pytest.mark.parametrize("row", [{}, {"messages": None}])
def test_no_conversation_is_an_empty_one(row):
    assert rows.messages("f:1", row) == ()


@pytest.mark.parametrize(
    ("messages", "where", "reason"),
    [
        ("text", "f:1", "messages must be a list"),
        ({}, "f:1", "messages must be a list"),
        (["text"], "f:1", r"messages\[0\] must be an object"),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": 1}], r"f:1: messages\[1\]", "content must be a string"),
        ([{"content": "a"}], r"f:1: messages\[0\]", "role must be one of"),
    ],
)  # fmt: skip
def test_a_conversation_that_is_none_is_refused_with_its_place(messages, where, reason):
    with pytest.raises(InputError, match=f"{where}.*{reason}"):
        rows.messages("f:1", {"messages": messages})


def test_a_conversation_may_come_as_a_request_would():
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    value = [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42"},
    ]

    turns = rows.messages("f:1", {"messages": value})

    assert [(turn.role.value, turn.text) for turn in turns] == [
        ("system", "s"),
        ("user", "a\nb"),
        ("assistant", ""),
    ]
