"""``JsonView``: where a piece of a JSON text can be replaced, against Python's own reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.json_view import Fit, JsonView


def view_of(text: str) -> JsonView:
    view = JsonView()
    view.read(text)
    return view


@pytest.mark.parametrize(
    ("text", "in_string", "in_escape"),
    [
        ("", False, False),
        ('{"a', True, False),
        ('{"a"', False, False),
        ('{"a\\', True, True),
        ('{"a\\"', True, False),
        ('"\\u00', True, True),
        ('"\\u0041', True, False),
        ('"\\\\"', False, False),
        ("\\", False, False),
    ],
)
def test_it_knows_whether_it_stands_in_a_string_and_an_escape_sequence(text, in_string, in_escape):
    view = view_of(text)
    assert (view.in_string, view.in_escape) == (in_string, in_escape)


@given(st.text(alphabet='ab"\\\néu0 ', max_size=8), st.data())
def test_any_piece_of_a_string_can_be_replaced_or_is_refused(value, data):
    text = json.dumps([value, 7, value])
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    fit = view_of(text[:start]).fit(
        text[start - 1 : start] if start else "", text[start:end], text[end : end + 1]
    )
    if fit is None:
        return
    assert 0 <= fit.start < fit.end <= end - start
    json.loads(text[: start + fit.start] + fit.worded('it"s') + text[start + fit.end :])


def test_a_number_is_replaced_by_a_string_and_a_part_of_one_is_not():
    assert view_of('{"a": ').fit(" ", "4111", "}") == Fit(0, 4, quoted=True)
    assert view_of('{"a": 4').fit("4", "111", "}") is None
    assert view_of('{"a": ').fit(" ", "411", "1") is None


def test_what_reaches_over_the_end_of_a_string_has_no_place():
    assert view_of('["a').fit("a", 'b", "c', '"') is None
    assert view_of("[").fit("[", '"a"', "]") is None


def test_words_are_written_for_their_place():
    assert Fit(0, 1, quoted=True).worded('a "b"') == '"a \\"b\\""'
    assert Fit(0, 1, quoted=False).worded("é\n") == "é\\n"
