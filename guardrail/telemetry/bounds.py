"""What keeps telemetry's memory and label sets finite, whatever arrives (invariant 10).

``LabelBounds`` admits a limited number of values per label, so that no upstream, policy or caller can grow a
time-series database; ``OpenStreams`` remembers what an observer noted when a stream opened, for at most so
many streams. Neither knows what the values mean.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from guardrail.telemetry.redaction import OTHER, word

MAX_LABEL_VALUES: Final = 64
"""Twice what any vocabulary of ours has; a Prometheus label with more than this is a mistake."""

MAX_OPEN_STREAMS: Final = 65_536
"""Far over what one process serves at once: a full table means that ends are being lost."""

Note = TypeVar("Note")


class LabelBounds:
    """Lets the first ``limit`` well-formed values of each label pass and calls the rest ``other``."""

    def __init__(self, limit: int = MAX_LABEL_VALUES) -> None:
        self._limit = limit
        self._seen: dict[str, set[str]] = {}

    def admit(self, label: str, value: str) -> str:
        """``value`` as it may appear under ``label``."""
        seen = self._seen.setdefault(label, set())
        if value in seen:
            return value
        if len(seen) >= self._limit or word(value) != value:
            return OTHER
        seen.add(value)
        return value


class OpenStreams(Generic[Note]):
    """One note per open stream, oldest first.

    Stream ids may come from callers and may repeat, and an end may never come. Both push a note out, and
    ``open`` returns it so that its owner can settle what it stands for.
    """

    def __init__(self, limit: int = MAX_OPEN_STREAMS) -> None:
        self._limit = limit
        self._notes: dict[str, Note] = {}

    def open(self, stream_id: str, note: Note) -> Note | None:
        """Remember ``note``; returns the note it pushed out, if any."""
        pushed_out = self._notes.pop(stream_id, None)
        if pushed_out is None and len(self._notes) >= self._limit:
            pushed_out = self._notes.pop(next(iter(self._notes)))
        self._notes[stream_id] = note
        return pushed_out

    def get(self, stream_id: str) -> Note | None:
        """The note of an open stream."""
        return self._notes.get(stream_id)

    def close(self, stream_id: str) -> Note | None:
        """The note of a stream that ended; it is forgotten."""
        return self._notes.pop(stream_id, None)

    def drain(self) -> list[Note]:
        """All notes left, when the process goes; they are forgotten."""
        notes = list(self._notes.values())
        self._notes.clear()
        return notes
