"""The codec: chunking is not meaning, and no byte is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_streams import pieces

from guardrail.wire.sse import SseDecoder, SseEvent, encode_event

CUTS = st.lists(st.integers(0, 1 << 16), max_size=12)
LINES = st.sampled_from(
    [
        "data: {}",
        "data:x",
        "data",
        "data:  two",
        ": ping",
        ":",
        "id: 7",
        "event: error",
        "data: grüß 😀",
        "\ufeff",
    ]
)
STREAMS = st.lists(
    st.tuples(st.lists(LINES, max_size=3), st.sampled_from(["\n", "\r\n", "\r"])), max_size=6
).map(lambda events: "".join("".join(line + end for line in [*lines, ""]) for lines, end in events).encode())


def decode(*data: bytes, max_event_bytes: int = 1 << 20) -> list[SseEvent]:
    decoder = SseDecoder(max_event_bytes)
    return [event for piece in data for event in decoder.feed(piece)] + decoder.end()


def every_way(data: bytes, **options) -> list[SseEvent]:
    whole = decode(data, **options)
    assert decode(*(data[i : i + 1] for i in range(len(data))), **options) == whole
    for cut in range(len(data)):
        assert decode(data[:cut], data[cut:], **options) == whole
    assert b"".join(event.raw for event in whole) == data
    return whole


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end):
    events = every_way(f"data: a{end}data: b{end}{end}: ping{end}{end}data: ü😀{end}{end}".encode())
    assert [event.data for event in events] == ["a\nb", None, "ü😀"]
    assert all(event.terminated for event in events)


def test_events_without_data_and_with_types():
    events = every_way(b"event: error\ndata: x\n\nevent: ping\n\nid: 4\nretry: 5\ndata\n\n")
    assert [(event.event, event.data) for event in events] == [("error", "x"), ("ping", None), ("", "")]


def test_comments_before_an_event_belong_to_it():
    (event,) = every_way(b": one\n: two\ndata: x\n\n")
    assert event.raw == b": one\n: two\ndata: x\n\n"


def test_one_space_after_the_colon_is_not_data():
    assert [event.data for event in every_way(b"data:x\n\ndata: x\n\ndata:  x\n\n")] == ["x", "x", " x"]


def test_byte_order_mark():
    (event,) = every_way(b"\xef\xbb\xbfdata: x\n\n")
    assert event.data == "x"


def test_byte_order_mark_of_a_truncated_stream():
    assert every_way(b"\xef\xbb\xbfdata: x") == [SseEvent(b"\xef\xbb\xbfdata: x", "x", terminated=False)]


@pytest.mark.parametrize("tail", [b"data: x", b"data: x\n", b"data: x\r\n", b"data: x\r", b": ping\ndata: x"])
def test_a_truncated_last_event_is_kept_and_read(tail):
    *_, last = every_way(b"data: a\n\n" + tail)
    assert (last.raw, last.data, last.terminated) == (tail, "x", False)


def test_invalid_utf8_is_read_as_clients_read_it():
    (event,) = every_way(b"data: a\xffb\n\n")
    assert event.data == "a\ufffdb"


def test_an_event_is_not_held_up_by_the_next():
    for end in ("\n", "\r"):
        decoder = SseDecoder()
        assert [event.data for event in decoder.feed(f"data: a{end}{end}".encode())] == ["a"]
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\n\r") == []
    assert [event.raw for event in decoder.feed(b"\n")] == [b"data: a\r\n\r\n"]


def test_the_stream_names_its_line_end():
    for end in (b"\n", b"\r\n", b"\r"):
        decoder = SseDecoder()
        assert decoder.newline == b"\n"
        decoder.feed(b"data: a" + end + end + b"data")
        assert decoder.newline == end


@given(data=STREAMS, cuts=CUTS, torn=st.integers(0, 4))
def test_cuts_mean_nothing(data, cuts, torn):
    data = data[: len(data) - torn]
    whole = decode(data)
    assert decode(*pieces(data, cuts)) == whole
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == whole
    assert b"".join(event.raw for event in whole) == data


def joined(events: list[SseEvent]) -> list[SseEvent]:
    """Pieces of an oversized event as one."""
    out: list[SseEvent] = []
    for event in events:
        if out and out[-1].oversized and not out[-1].terminated:
            assert event.oversized
            out[-1] = SseEvent(out[-1].raw + event.raw, None, "", event.terminated, oversized=True)
        else:
            out.append(event)
    return out


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=CUTS,
    torn=st.integers(0, 4),
)
def test_an_oversized_event_passes_and_the_codec_recovers(sizes, end, cuts, torn):
    data = b"".join(b"data: " + b"x" * size + end + end for size in sizes) + b"data: last" + end + end
    data = data[: len(data) - torn]
    whole = joined(decode(data, max_event_bytes=20))
    for fed in (pieces(data, cuts), [data[i : i + 1] for i in range(len(data))]):
        events = decode(*fed, max_event_bytes=20)
        assert joined(events) == whole
        assert all(len(event.raw) <= 20 + max(map(len, fed)) for event in events if event.oversized)
    assert b"".join(event.raw for event in whole) == data
    for event in whole:
        assert event.oversized == (len(event.raw) > 20)
        assert (event.data is None) == event.oversized


def test_an_oversized_event_is_not_held():
    decoder = SseDecoder(max_event_bytes=100)
    held = 0
    for _ in range(1000):
        held += 64 - sum(len(event.raw) for event in decoder.feed(b"data: " + b"x" * 58))
        assert held <= 164


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_what_is_encoded_is_decoded(end):
    raw = encode_event("ü\nb".encode(), end)
    assert every_way(raw) == [SseEvent(raw, "ü\nb")]


def test_what_waits_can_be_read_elsewhere_where_an_event_begins_and_one_ends():
    decoder = SseDecoder()
    assert decoder.at_event(b"data: a\n\n") is None  # the first one may begin with a byte order mark
    decoder.feed(b"data: a\n\ndata: b")
    assert decoder.at_event(b"c") is None
    waiting = decoder.at_event(b"c\n\ndata: d")
    assert waiting == b"data: bc\n\ndata: d"
    rest = decoder.skip(waiting, len(b"data: bc\n\n"))
    assert [event.data for event in decoder.feed(rest + b"e\n\n")] == ["de"]
    assert decoder.at_event(b"data: f\n") == b"data: f\n"


@pytest.mark.parametrize("begun", [b"data: a\n", b"event: x\n", b": note\n"])
def test_what_waits_is_not_read_elsewhere_where_an_event_is_half_read(begun):
    decoder = SseDecoder()
    decoder.feed(b"data: a\n\n" + begun)
    assert decoder.at_event(b"data: b\n\n") is None
