"""Server-sent events over bytes: an incremental decoder that loses nothing, and an encoder. Knows no dialect.

Every byte fed comes back in the ``raw`` of exactly one event, in order, so that an event nobody touches
is passed on as it came: comments, line ends, a byte order mark and unknown fields included. Bytes may be
cut anywhere; what comes out does not depend on it, except that an oversized event comes in pieces.

A blank line ends an event. The one delicate place is a carriage return as the last byte read, which may
be half of a CRLF: the decoder waits for the next byte, unless the line before ended in a lone carriage
return as well, so that streams of that style are not held up by an event.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_EVENT_BYTES = 1 << 20
"""A chunk of tokens is below 1 KiB; 1 MiB leaves room for an audio or image delta."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
_PLAIN_EVENT = re.compile(rb"data: ([^\r\n]*)\n\n")


class SseEvent(NamedTuple):
    """One event, or what stood between two blank lines without being one."""

    raw: bytes
    """Its exact bytes, comments before it and the blank line after it included."""
    data: str | None = None
    """The data lines, joined by a newline; None without any, or when oversized."""
    event: str = ""
    """The event type; "" is the default, "message"."""
    terminated: bool = True
    """Whether its blank line is in ``raw``: False for the end of a truncated stream."""
    oversized: bool = False
    """The event was too large to be read; it comes in pieces, the last of which is ``terminated``."""


class SseDecoder:
    """Cuts a byte stream into events.

    Args:
        max_event_bytes: a larger event is passed on unread, in pieces, and never held as a whole.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._line_start = 0
        self._search_from = 0
        self._line_begun = False
        """Bytes of the current line were already handed out, in a piece of an oversized event."""
        self._previous_end = b""
        """How the line before ended, "" at the start of an event."""
        self._data: list[bytes] = []
        self._event = b""
        self._oversized = False
        self._at_start = True
        self.newline = b"\n"
        """The line end the stream uses, as first seen; for events of our own."""

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take bytes; the events they complete."""
        self._buffer += data
        events: list[SseEvent] = []
        if not self._search_from and not self._oversized and not self._at_start:
            self._take_plain_events(events)
        self._complete_events(events, at_end=False)
        if self._oversized or len(self._buffer) > self._max_event_bytes:
            events.extend(self._oversized_piece())
        return events

    def at_event(self, data: bytes) -> bytes | None:
        """All that waits, ``data`` included, if an event begins and one ends there; else None."""
        half_read = self._line_start or self._line_begun or self._data or self._event or self._previous_end
        if half_read or self._oversized or self._at_start:
            return None
        if not self._buffer:
            return data
        # What waits is put together only for an event that ends: a long one may come in thousands of pieces.
        return bytes(self._buffer) + data if b"\n\n" in data else None

    def skip(self, waiting: bytes, size: int) -> bytes:
        """The first ``size`` of what ``at_event`` gave were whole events, and were read elsewhere; the rest."""
        self._buffer.clear()
        self._search_from = 0
        return waiting[size:]

    def end(self) -> list[SseEvent]:
        """The stream ended; what it left without a blank line is read as an event all the same.

        The standard says to ignore it, but clients that read line by line do not.
        """
        events: list[SseEvent] = []
        self._complete_events(events, at_end=True)
        if self._buffer:
            self._take_line(bytes(self._buffer[self._line_start :]))
            events.append(self._cut(len(self._buffer), terminated=False))
        return events

    def _take_plain_events(self, events: list[SseEvent]) -> None:
        """Where an event begins: take those that are one data line, as nearly all are, in one look each."""
        at = 0
        while match := _PLAIN_EVENT.match(self._buffer, at):
            if match.end() - at > self._max_event_bytes:
                break
            events.append(SseEvent(match[0], match[1].decode(errors="replace")))
            at = match.end()
        del self._buffer[:at]

    def _complete_events(self, events: list[SseEvent], *, at_end: bool) -> None:
        while match := _LINE_END.search(self._buffer, self._search_from):
            start, end = match.span()
            line_end = match.group()
            blank = start == self._line_start and not self._line_begun
            if line_end != b"\n" and blank and self._previous_end == b"\r":
                # Two carriage returns end the event at once. A newline after them is an empty line of its
                # own, which says nothing: no reader can tell the difference.
                end, line_end = start + 1, b"\r"
            elif line_end == b"\r" and end == len(self._buffer) and not at_end:
                self._search_from = start
                return
            if self._at_start:
                self.newline = line_end
            self._take_line(bytes(self._buffer[self._line_start : start]))
            self._line_start = self._search_from = end
            self._line_begun = False
            self._previous_end = line_end
            if blank:
                events.append(self._cut(end, terminated=True))
                self._take_plain_events(events)
        self._search_from = len(self._buffer)

    def _take_line(self, line: bytes) -> None:
        if self._at_start:
            line, self._at_start = line.removeprefix(_BYTE_ORDER_MARK), False
        if self._oversized:
            return
        name, _, value = line.partition(b":")  # a comment is a line whose name is empty
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value

    def _cut(self, end: int, *, terminated: bool) -> SseEvent:
        """Take the bytes up to ``end`` out of the buffer, as an event or the last piece of one."""
        raw = bytes(self._buffer[:end])
        oversized = self._oversized or end > self._max_event_bytes
        data = None if oversized or not self._data else b"\n".join(self._data).decode(errors="replace")
        event = SseEvent(raw, data, self._event.decode(errors="replace"), terminated, oversized)
        del self._buffer[:end]
        self._data, self._event, self._previous_end = [], b"", b""
        self._line_start = self._search_from = 0
        self._line_begun = self._oversized = False
        return event

    def _oversized_piece(self) -> list[SseEvent]:
        """Hand out what is buffered of an event too large, up to a carriage return still in doubt."""
        self._oversized, self._data = True, []
        cut = self._search_from
        if not cut:
            return []
        piece = SseEvent(bytes(self._buffer[:cut]), terminated=False, oversized=True)
        self._line_begun = self._line_begun or cut > self._line_start
        del self._buffer[:cut]
        self._line_start = self._search_from = 0
        return [piece]


def encode_event(data: bytes, newline: bytes = b"\n") -> bytes:
    """An event of our own that carries ``data``, line by line, with the stream's line ends."""
    lines = b"".join(b"data: " + line + newline for line in _LINE_END.split(data))
    return lines + newline
