"""The load's own answers can be trusted: bytes are counted, timed and compared as they came."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load import script, stream_log
from benchmarks.load.ends import Ends, Load

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def answer(raw: bytes, cuts: list[int]) -> stream_log.Answer:
    """``raw``, cut up; each piece comes a second after the one before."""
    edges = [0, *sorted(cuts), len(raw)]
    pieces = [raw[a:b] for a, b in itertools.pairwise(edges) if b > a]
    return stream_log.Answer(0.0, [(float(second), piece) for second, piece in enumerate(pieces, 1)])


def raw_up_to(chunks: list[bytes], at: int) -> bytes:
    """What must have come for the first ``at`` bytes of a body to be there."""
    raw = HEAD
    for chunk in chunks:
        raw += b"%x\r\n%b" % (len(chunk), chunk[:at])
        if at <= len(chunk):
            return raw
        raw += b"\r\n"
        at -= len(chunk)
    raise AssertionError


@given(st.data())
def test_an_event_comes_when_its_last_byte_does_however_it_was_framed_and_cut(data):
    events = script.events(5)
    body = b"".join(events)
    frames = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=6)))
    chunks = [body[a:b] for a, b in zip([0, *frames], [*frames, len(body)], strict=True)]
    raw = HEAD + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    came = answer(raw, data.draw(st.lists(st.integers(1, len(raw) - 1), max_size=6)))

    timed = stream_log.event_times(came)

    assert [event for _, event in timed] == events
    whens = [when for when, _ in timed]
    assert whens == sorted(whens)
    at = 0
    for when, event in timed:
        at += len(event)
        total = sum(len(piece) for second, piece in came.pieces if second < when)
        assert total < len(raw_up_to(chunks, at))  # it was not whole before
        assert total + len(dict(came.pieces)[when]) >= len(raw_up_to(chunks, at))


@pytest.mark.parametrize("window", [0, 2])
def test_clients_get_what_the_server_sends(window):
    ends = Ends()
    clients: list = []
    load = Load(f"127.0.0.1:{ends.port}", tokens=30, streams=3, rounds=2, window=window, limit_s=30)
    thread = threading.Thread(target=lambda: clients.extend(ends.run(load)))
    thread.start()
    thread.join(40)
    ends.close()
    answers = [each for client in clients for each in client.log]
    told = stream_log.summary(answers, script.events(30), paced=False)
    assert (told["verbatim"], told["same_text"], told["events"]) == (1.0, 1.0, 6 * 33)
