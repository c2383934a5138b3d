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


def events(*texts: str, **how: object) -> list[bytes]:
    return [f"data: {json.dumps(chunk(text), **how)}\n\n".encode() for text in texts]


PLAIN = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
MOST = 1 << 20


@given(st.lists(PLAIN, min_size=1), st.booleans(), st.integers(0, 400))
def test_events_in_a_row_are_cut_apart_and_none_is_lost(texts, ascii_only, cut):
    repeats = learnt(chunk("river"), ensure_ascii=ascii_only)
    whole = events(*texts, ensure_ascii=ascii_only)
    data = b"".join(whole)
    rest = data[max(0, len(data) - cut) :]
    run = repeats.run_in(data[: len(data) - len(rest)], MOST)
    if run is None:
        assert len(data) - len(rest) < len(whole[0])
        return
    assert data[: run.size] == b"".join(whole[: len(run)])
    assert len(data) - len(rest) - run.size < len((*whole, b"")[len(run)]) or len(run) == len(whole)
    assert run.text == "".join(texts[: len(run)])
    assert run.place(7) == 7 + len(run.text)
    assert [(raw, payload) for raw, payload, _, _ in run.events()] == [
        (raw, chunk(text)) for raw, text in zip(whole, texts[: len(run)], strict=False)
    ]


@pytest.mark.parametrize(
    ("other", "read"),
    [
        (events(""), 2),  # nothing to be scored: read by itself
        ([b'data: {"x": 1}\n\n'], 1),  # and the one before it, with which it stands in one piece
        ([b"data:" + events("c")[0][6:]], 1),
        ([events("c")[0].replace(b"\n\n", b"\r\n\r\n")], 2),
        ([b": ping\n\n"], 1),
        ([events("c")[0].replace(b'"c"', b'"c\\x"')], 2),
        ([events("c")[0].replace(b'"c"', b'"\x01"')], 2),
        ([events("c")[0].replace(b'"c"', b'"c", "content": "d"')], 2),
        ([events("c")[0].replace(b'"c"', b'"\xff"')], 0),  # no UTF-8: whoever reads one by one repairs it
        (events("c"), 4),
    ],
)
def test_a_run_ends_before_an_event_of_another_kind(other, read):
    run = learnt(chunk("river")).run_in(b"".join([*events("a", "b"), *other, *events("d")]), MOST)
    assert (len(run) if run else 0) == read


def test_a_run_with_an_event_that_is_too_large_is_left_to_others():
    repeats, small = learnt(chunk("river")), len(events("a")[0])
    assert len(repeats.run_in(b"".join(events("a", "b")), small)) == 2
    assert repeats.run_in(b"".join(events("a", "bc")), small) is None


def test_an_event_of_several_data_lines_is_no_pattern_of_runs():
    data = json.dumps(chunk("river"), indent=1)
    repeats = Repeats()
    repeats.learn(data, chunk("river"))
    assert repeats.text_in(data.replace("river", "bank")) == "bank"
    assert not repeats.in_runs


def test_nothing_is_a_run_before_a_pattern_is_known_or_in_the_middle_of_an_event():
    assert not Repeats().in_runs
    assert learnt(chunk("river")).in_runs
    assert learnt(chunk("river")).run_in(events("a")[0][1:], MOST) is None


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
