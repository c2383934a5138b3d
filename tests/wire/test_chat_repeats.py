from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.testing.upstream import chat_chunk
from guardrail.wire.chat_completions import ChatCompletionsStream
from guardrail.wire.chat_repeats import Repeats
from guardrail.wire.dialect import LaneText


def chunk(text: str, **fields: object) -> dict:
    return {
        "id": "c1",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
        **fields,
    }


def learnt(payload: dict, **how: object) -> Repeats:
    repeats = Repeats()
    repeats.learn(json.dumps(payload, **how), payload)
    return repeats


TEXTS = st.text(st.characters(exclude_categories=()), min_size=1)


@given(TEXTS, TEXTS, st.booleans())
def test_a_chunk_that_differs_only_in_its_text_is_read_as_if_it_were_parsed(first, second, ascii_only):
    repeats = learnt(chunk(first), ensure_ascii=ascii_only)
    text = repeats.text_in(json.dumps(chunk(second), ensure_ascii=ascii_only))
    assert text == second
    assert repeats.payload(text) == chunk(second)


@given(st.text('ab"\\,:{}\n\x00n/u0', max_size=12))
def test_whatever_stands_in_the_place_of_the_text_is_read_as_json_or_not_at_all(raw):
    repeats = learnt(chunk("river"))
    data = json.dumps(chunk("river")).replace("river", raw)
    text = repeats.text_in(data)
    if text is not None:
        assert json.loads(data) == repeats.payload(text)


@pytest.mark.parametrize(
    "other",
    [
        chunk("a", id="c2"),
        chunk("a", usage={"total_tokens": 1}),
        {**chunk("a"), "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]},
        {**chunk("a"), "choices": [{"index": 1, "delta": {"content": "a"}, "finish_reason": None}]},
        {**chunk("a"), "choices": [{"index": 0, "delta": {"content": None}, "finish_reason": None}]},
    ],
)
def test_a_chunk_that_differs_elsewhere_is_not_recognised(other):
    assert learnt(chunk("river")).text_in(json.dumps(other)) is None


def test_head_and_tail_must_not_overlap():
    data = json.dumps(chunk("x"))
    assert learnt(chunk("x")).text_in(data.replace('"x"', '"')) is None


@pytest.mark.parametrize(
    "data",
    [
        '{"content": "a", "choices": [{"delta": {"content": "a"}}]}',  # the first is not the text
        '{"choices": [{"delta": {"content": "b", "content": "a"}}]}',  # the last one counts
        '{"choices": [{"delta": {"cont\\u0065nt": "a"}}]}',
    ],
)
def test_a_place_that_is_not_proven_to_be_the_text_is_not_learnt(data):
    repeats = Repeats()
    repeats.learn(data, json.loads(data))
    assert repeats.text_in(data) is None


def test_an_upstream_whose_chunks_all_differ_is_left_alone():
    repeats = Repeats()
    for number in range(20):
        repeats.learn(json.dumps(chunk("a", created=number)), chunk("a", created=number))
    assert repeats.text_in(json.dumps(chunk("b", created=19))) is None


@given(st.lists(st.tuples(st.integers(0, 2), st.text('ab \n"', min_size=1, max_size=3)), max_size=40))
def test_text_belongs_to_the_lane_its_chunk_names_whichever_lanes_spoke_before(said):
    """Lanes take turns until no pattern is learnt any more: the one that is left is still of one lane."""
    stream = ChatCompletionsStream()
    heard = [event for lane, text in said for event in stream.feed(chat_chunk(text, index=lane))]
    assert heard == [LaneText(f"choice/{lane}", text) for lane, text in said]
