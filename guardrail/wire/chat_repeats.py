"""``Repeats``: chunks that say what one before said, but for their text; read without parsing them.

Nearly all chunks of a stream are one JSON text with another string in one place. Once a chunk was parsed,
what stands before and behind that string is known, and a chunk with the same around it *is* that JSON with
another string: what is between must only be one JSON string, which is checked. That the string is
``choices[0].delta.content`` is proven when the pattern is learnt, by parsing it with another one there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from guardrail.wire import jsontext

_CONTENT = re.compile(r'"content"\s*:\s*"')
_PROBE = "probe"
_CREDIT = 4  # patterns learnt in vain before it is left; and one more for every so many chunks recognised
_HITS_A_PATTERN = 16


class Repeats:
    """The pattern of one stream. An upstream whose chunks differ in other places gets none."""

    def __init__(self) -> None:
        self._head = self._tail = ""
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
        if jsontext.read(head + _PROBE + tail) == _with_text(payload, _PROBE):
            self._head, self._tail, self._payload = head, tail, payload

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

    def payload(self, text: str) -> dict[str, Any]:
        """What a chunk of the pattern with ``text`` stands for."""
        return _with_text(self._payload, text)


def _with_text(payload: Mapping[str, Any], text: str) -> dict[str, Any]:
    (choice,) = payload["choices"]
    return {**payload, "choices": [{**choice, "delta": {**choice["delta"], "content": text}}]}
