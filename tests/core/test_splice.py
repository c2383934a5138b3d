"""Inserted text reads as a continuation of what the client has read."""

from __future__ import annotations

import pytest

from guardrail.core.splice import ClientView, after_insert


def view_of(text: str) -> ClientView:
    view = ClientView()
    view.read(text)
    return view


@pytest.mark.parametrize(
    ("read", "joint"),
    [
        ("", ""),
        ("  \n", ""),
        ("It ends.", "\n\n"),
        ("It ends. ", "\n\n"),
        ("It ends.\n", "\n"),
        ("It ends.\n\n", ""),
        ("It ends.\r\n\r\n", ""),
        ("in the middle", "…\n\n"),
        ("in the middle ", "…\n\n"),
        ("after a comma,", " …\n\n"),
        ("as follows:", "\n\n"),
        ("already trailing…", "\n\n"),
        ("这是中文", "…\n\n"),
        ("这是中文。", "\n\n"),
        ("สวัสดี", "…\n\n"),  # ends with a sign that combines with the letter before it
        ("नमस्ते", "…\n\n"),
        ("cafe\u0301", "…\n\n"),
        ("a smile 🙂", " …\n\n"),
        ("some **bold", "**…\n\n"),
        ("some **bold** text", "…\n\n"),
        ("some `code", "`…\n\n"),
        ("some `**code", "`…\n\n"),
        ("x" * 5000, "…\n\n"),
        ("`" + "x" * 5000, "`…\n\n"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_paragraph_of_ours_closes_what_is_open(read, joint):
    assert view_of(read).before_insert() == joint


@pytest.mark.parametrize(
    ("read", "joint"),
    [
        ("```\ncode", "\n```\n\n"),
        ("```py\ncode\n", "```\n\n"),
        ("~~~\ncode\n", "~~~\n\n"),
        ("````\n```\ncode", "\n````\n\n"),
        ("```py", "\n```\n\n"),
        ("Text\r\n```\r\ncode\r\n", "```\n\n"),
        ("1. Do this:\n   ```sh\n   ls", "\n   ```\n\n"),
        ("1. Do this:\n\n    ```sh\n    ls", "\n    ```\n\n"),
    ],
    ids=repr,
)
def test_an_open_code_block_is_closed_with_its_own_mark_and_indent(read, joint):
    view = view_of(read)
    assert view.in_block
    assert view.before_insert() == joint


@pytest.mark.parametrize(
    ("read", "joint"),
    [
        ("```\ncode\n```", "\n\n"),  # the commonest end of an answer with code: no new line behind the mark
        ("```\ncode\n```\n", "\n"),
        ("```\r\ncode\r\n```", "\n\n"),
        ("~~~\ncode\n~~~~", "\n\n"),
        ("```inline``` and more", "…\n\n"),  # back quotes in the line: not a block
        ("```inline``` and more.\nNext.", "\n\n"),
    ],
    ids=repr,
)
def test_a_code_block_that_is_closed_is_not_closed_again(read, joint):
    assert view_of(read).before_insert() == joint


@pytest.mark.parametrize(
    "inside", ["```", "```\n~~~\n", "````\n```\n", "```\n``` not closing\n", "```\n``\n"]
)
def test_only_its_own_mark_alone_on_a_line_closes_a_code_block(inside):
    assert view_of(inside).in_block


@pytest.mark.parametrize(
    "read",
    [
        "- one",
        "* one\n  more of it",
        "1. one",
        "12) one",
        "• one",
        "- one\n\n  still in it",
        "| a | b |",
        "| a",
    ],
)
def test_lists_and_tables_are_no_place_for_a_paragraph(read):
    assert view_of(read).in_block


@pytest.mark.parametrize(
    "read", ["- one\n\nText again", "Text", "3 apples", "-5 degrees", "a | b", "**bold**"]
)
def test_ordinary_text_is_a_place_for_a_paragraph(read):
    assert not view_of(read).in_block


def test_a_list_item_is_ended_like_a_sentence_and_a_table_row_by_a_new_line():
    assert view_of("- one\n- two and").before_insert() == "…\n\n"
    assert view_of("* **bold").before_insert() == "**…\n\n"
    assert view_of("| a | b |\n|---|---|\n| 1 |").before_insert() == "\n\n"


@pytest.mark.parametrize(
    ("following", "joint"),
    [
        ("\n\nNext", ""),
        ("\r\n\r\nNext", ""),
        ("\nNext", "\n"),
        ("\r\nNext", "\n"),
        (" Next", "\n\n"),
        ("", "\n\n"),
    ],
)
def test_the_upstream_goes_on_in_a_paragraph_of_its_own(following, joint):
    assert after_insert(following) == joint


@pytest.mark.parametrize(
    ("read", "joint"),
    [
        ("```\n    ```", "\n```\n\n"),  # four spaces in front: code, not the block's end
        ("```\n   ```", "\n\n"),
        ("1. one\n   ```\n      ```", "\n\n"),  # in a list item they count from its text
        ("1. one\n   ```\n   code\nText", "…\n\n"),  # left of the item: list and block are over
        ("1. one\n   ```\n   code\n```", "\n```\n\n"),  # so that this opens one
        ("- one\n```\ncode", "\n```\n\n"),  # an unindented block ends the list
        ("- one\n```\n- code\n```\nText", "…\n\n"),
    ],
    ids=repr,
)
def test_where_a_code_block_stands_decides_what_ends_it(read, joint):
    assert view_of(read).before_insert() == joint


def test_what_looks_like_a_list_inside_code_is_none():
    assert not view_of("```\n- code\n```\n\n text").in_block


def test_reading_nothing_is_reading_nothing():
    view = ClientView()
    view.read("")
    assert view.empty


def test_four_spaces_in_front_make_no_code_block_and_three_do():
    assert view_of("    ```\ncode").before_insert() == "…\n\n"
    assert view_of("   ```\ncode").before_insert() == "\n   ```\n\n"


def test_text_left_of_a_list_item_ends_the_list_even_from_its_code():
    assert not view_of("1. one\n   ```\nText\n\n  indented").in_block
