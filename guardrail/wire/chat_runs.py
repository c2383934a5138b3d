"""Events that came in a row and differ in their text alone: one place in the queue for all of them.

Nearly all of a stream is such events, and nearly all of them leave as they came. So they are kept together, and
let go as many at a time as their text was released for; only who wants to change one has them taken apart
(``chat_completions``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any


class Run:
    """Whole events of one lane.

    Args:
        raw: their bytes.
        texts: what each of them says, never "".
        sizes: how many bytes each of them has.
        payload: what one of them stands for, with any text.
    """

    __slots__ = ("_begun", "_cuts", "_ends", "_payload", "_raw", "_texts")

    def __init__(
        self, raw: bytes, texts: Sequence[str], sizes: Sequence[int], payload: Mapping[str, Any]
    ) -> None:
        self._raw = raw
        self._payload = payload
        self._texts = texts
        self._cuts = [0, *accumulate(sizes)]
        self._ends: list[int] = []
        self._begun = 0  # events that were let go

    def __len__(self) -> int:
        """How many of them were not let go."""
        return len(self._texts) - self._begun

    @property
    def text(self) -> str:
        """What all of them say, those that were let go included."""
        return "".join(self._texts)

    @property
    def size(self) -> int:
        """Bytes of all of them, those that were let go included."""
        return len(self._raw)

    def place(self, start: int) -> int:
        """Say where in the lane's text the run begins; where it ends."""
        self._ends = list(accumulate(map(len, self._texts), initial=start))
        return self._ends[-1]

    def let_go(self, released: int) -> bytes:
        """The bytes of the events whose text was released as a whole and that were not let go before."""
        through = bisect_right(self._ends, released, lo=self._begun + 1) - 1
        out = self._raw[self._cuts[self._begun] : self._cuts[through]]
        self._begun = through
        return out

    def events(self) -> Iterator[tuple[bytes, dict[str, Any], int, int]]:
        """What is left, one by one: bytes, what they stand for, and where in the lane's text that begins and ends."""
        for number in range(self._begun, len(self._texts)):
            raw = self._raw[self._cuts[number] : self._cuts[number + 1]]
            payload = with_text(self._payload, self._texts[number])
            yield raw, payload, self._ends[number], self._ends[number + 1]


def with_text(payload: Mapping[str, Any], text: str) -> dict[str, Any]:
    """A chunk of one choice with ``text`` in the place of its own."""
    (choice,) = payload["choices"]
    return {**payload, "choices": [{**choice, "delta": {**choice["delta"], "content": text}}]}
