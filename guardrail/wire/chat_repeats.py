"""``Repeats``: chunks that say what one before said, but for their text; read without parsing them.

Nearly all chunks of a stream are one JSON text with another string in one place. Once a chunk was parsed,
what stands before and behind that string is known, and a chunk with the same around it *is* that JSON with
another string: what is between must only be one JSON string, which is checked. That the string is
``choices[0].delta.content`` is proven when the pattern is learnt, by parsing it with another one there. Where many
such events stand in a row, they are cut apart all at once, by what stands between two of their texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from guardrail.wire import jsontext
from guardrail.wire.chat_fields import lane_name
from guardrail.wire.chat_runs import Run, with_text

_CONTENT = re.compile(r'"content"\s*:\s*"')
_NO_PLAIN_TEXT = re.compile(rb'[\x00-\x1f"\\]')
_BEFORE, _BEHIND = b"data: ", b"\n\n"
_PROBE = "probe"
_CREDIT = 4  # patterns learnt in vain before it is left; and one more for every so many chunks recognised
_HITS_A_PATTERN = 16


class Repeats:
    """The pattern of one stream. An upstream whose chunks differ in other places gets none."""

    def __init__(self) -> None:
        self._head = self._tail = ""
        self._event_head = self._event_tail = b""
        self._payload: Mapping[str, Any] = {}
        self._learnt = self._hits = 0

    def learn(self, data: str, payload: Mapping[str, Any]) -> None:
        """Take the pattern of a chunk.

        Args:
            data: the chunk.
            payload: what it stands for; one choice, whose delta has text.
        """
        if self._learnt > _CREDIT + self._hits // _HITS_A_PATTERN:
            return
        self._learnt += 1
        self._head = ""
        found = _CONTENT.search(data)
        if found is None:
            return
        _, end = json.JSONDecoder().raw_decode(data, found.end() - 1)
        head, tail = data[: found.end()], data[end - 1 :]
        if jsontext.read(head + _PROBE + tail) == with_text(payload, _PROBE):
            self._head, self._tail, self._payload = head, tail, payload
            # An event of several data lines is no text with something before and behind it.
            in_one_line = "\n" not in head + tail
            self._event_head = _BEFORE + head.encode() if in_one_line else b""
            self._event_tail = tail.encode() + _BEHIND

    def text_in(self, data: str) -> str | None:
        """The text of a chunk that repeats the pattern; None for any other."""
        head, tail = self._head, self._tail
        if not head or not (data.startswith(head) and data.endswith(tail)):
            return None
        text = data[len(head) : -len(tail)]
        if len(data) < len(head) + len(tail):
            return None
        if "\\" in text or '"' in text or not text.isprintable():
            try:
                text = json.loads(f'"{text}"')
            except ValueError:
                return None
        self._hits += 1
        return text

    def run_in(self, data: bytes, max_event_bytes: int) -> Run | None:
        """The events of the pattern that ``data``, which begins where an event does, begins with; None without any.

        Only events with text, none of them too large, in the commonest form: one line that begins with "data: ",
        line ends of one newline. Asked only where ``in_runs``.
        """
        head, tail = self._event_head, self._event_tail
        if not data.startswith(head):
            return None
        end = data.rfind(tail)
        if end < len(head):
            return None
        pieces = data[len(head) : end].split(tail + head)
        try:
            texts = _texts(pieces)
        except UnicodeDecodeError:
            return None
        around = len(head) + len(tail)
        sizes = [len(piece) + around for piece in pieces[: len(texts)]]
        if not texts or max(sizes) > max_event_bytes:
            return None
        self._hits += len(texts)
        return Run(data[: sum(sizes)], texts, sizes, self._payload)

    @property
    def in_runs(self) -> bool:
        """Whether a pattern is known whose events can be read in runs."""
        return bool(self._head and self._event_head)

    @property
    def lane(self) -> str:
        """Whose text the pattern has: what names it is in every chunk of the pattern."""
        (choice,) = self._payload["choices"]
        return lane_name(choice)

    def payload(self, text: str) -> dict[str, Any]:
        """What a chunk of the pattern with ``text`` stands for."""
        return with_text(self._payload, text)


def _texts(pieces: list[bytes]) -> list[str]:
    """What the pieces say, up to the first that is not the inside of a JSON string, or says nothing.

    Raises:
        UnicodeDecodeError: one of them is not UTF-8.
    """
    joined = b"".join(pieces)
    if all(pieces) and not _NO_PLAIN_TEXT.search(joined):
        return [piece.decode() for piece in pieces]
    texts: list[str] = []
    for piece in pieces:
        text = piece.decode()
        if _NO_PLAIN_TEXT.search(piece):
            try:
                text = json.loads(f'"{text}"')
            except ValueError:
                break
        if not text:
            break
        texts.append(text)
    return texts
