"""What a client's bytes say afterwards: were the answers whole, and when did each token come?"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any


@dataclass(slots=True)
class Answer:
    """One answer as it came."""

    asked: float
    """When the request was sent."""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    """What the socket gave, and when."""

    @property
    def size(self) -> int:
        """Bytes so far, head and framing included."""
        return sum(len(data) for _, data in self.pieces)

    def raw(self) -> bytes:
        """All bytes."""
        return b"".join(data for _, data in self.pieces)


def chunks(raw: bytes) -> list[tuple[int, bytes]]:
    """The chunks of a response's body: where in ``raw`` the data of each ends, and the data.

    Raises:
        ValueError: it is no chunked response.
    """
    at = raw.index(b"\r\n\r\n") + 4
    found: list[tuple[int, bytes]] = []
    while True:
        line_end = raw.index(b"\r\n", at)
        size = int(raw[at:line_end].split(b";")[0], 16)
        if not size:
            return found
        at = line_end + 2 + size
        found.append((at, raw[line_end + 2 : at]))
        at += 2


def event_times(answer: Answer) -> list[tuple[float, bytes]]:
    """Each event of the answer, and when its last byte came.

    Raises:
        ValueError: it is no chunked response.
    """
    found = chunks(answer.raw())
    body = b"".join(data for _, data in found)
    came_up_to = list(accumulate(len(data) for _, data in answer.pieces))
    body_up_to = list(accumulate(len(data) for _, data in found))
    timed = []
    start = 0
    while (end := body.find(b"\n\n", start)) >= 0:
        end += 2
        chunk = bisect_left(body_up_to, end)
        in_raw = found[chunk][0] - (body_up_to[chunk] - end)
        timed.append((answer.pieces[bisect_left(came_up_to, in_raw)][0], body[start:end]))
        start = end
    return timed


def text_of(event: bytes) -> str:
    """The text an event carries; "" for none."""
    data = event.strip().removeprefix(b"data:").strip()
    if not data.startswith(b"{"):
        return ""
    choices = json.loads(data).get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


def summary(answers: Sequence[Answer], events: Sequence[bytes], *, paced: bool) -> dict[str, Any]:
    """What the answers say together.

    Args:
        answers: all of them.
        events: what the server sent each time.
        paced: give the times of tokens as well.
    """
    body = b"".join(events)
    verbatim = read = 0
    first_s: list[float] = []
    gaps_s: list[float] = []
    said = "".join(map(text_of, events))
    for answer in answers:
        timed = event_times(answer)
        verbatim += b"".join(event for _, event in timed) == body
        read += "".join(text_of(event) for _, event in timed) == said
        if paced:
            # What comes in one piece is seen at once: a gap of nothing inside it would only flatter.
            times = list(dict.fromkeys(when for when, event in timed if text_of(event)))
            first_s.append(times[0] - answer.asked)
            gaps_s += [later - earlier for earlier, later in pairwise(times)]
    told: dict[str, Any] = {
        "seconds": max(a.pieces[-1][0] for a in answers) - min(a.asked for a in answers),
        "events": len(answers) * len(events),
        "verbatim": verbatim / len(answers),
        "same_text": read / len(answers),
        "pieces": sum(len(answer.pieces) for answer in answers),
    }
    return told | ({"first_s": first_s, "gaps_s": gaps_s} if paced else {})
