"""Where words of ours may stand in a JSON text in place of a piece of it, so that it stays valid JSON.

``JsonView`` reads along with the upstream, in constant memory, and knows of JSON (RFC 8259) no more than
where strings and escape sequences begin and end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

_BEFORE_VALUE = frozenset(":,[") | frozenset(" \t\r\n")
_AFTER_VALUE = frozenset(",]}") | frozenset(" \t\r\n")
_STRUCTURAL = frozenset('{}[]:,"')
_UNICODE_DIGITS = 4  # of "\\uXXXX"


@dataclass(frozen=True, slots=True)
class Fit:
    """A piece that can be replaced: part of a string, or a value as a whole."""

    start: int
    """Offset in the text it was looked for in; behind an escape sequence that only ends there."""
    end: int
    quoted: bool
    """The words must bring their own quotation marks: a number stood here."""

    def worded(self, text: str) -> str:
        """``text`` as it must be written in the place of the piece."""
        written = json.dumps(text, ensure_ascii=False)
        return written if self.quoted else written[1:-1]


@dataclass(slots=True)
class JsonView:
    """Whether the text read so far ends inside a string, and inside an escape sequence of it."""

    in_string: bool = False
    _escape_chars: int = 0  # still to come of the escape sequence
    _escape_opens: bool = False  # the next one says which sequence it is

    @property
    def in_escape(self) -> bool:
        """Whether the next code point still belongs to an escape sequence."""
        return self._escape_chars > 0

    def read(self, text: str) -> None:
        """The upstream said ``text``."""
        for char in text:
            self._read(char)

    def _read(self, char: str) -> None:
        if self._escape_chars:
            unicode = self._escape_opens and char == "u"
            self._escape_chars = _UNICODE_DIGITS if unicode else self._escape_chars - 1
            self._escape_opens = False
        elif char == '"':
            self.in_string = not self.in_string
        elif char == "\\" and self.in_string:
            self._escape_chars, self._escape_opens = 1, True

    def fit(self, before: str, text: str, after: str) -> Fit | None:
        """How ``text`` can be replaced; None where that would break the JSON.

        Args:
            before: the code point before it, or "" at the start.
            text: what follows what was read.
            after: the code point after it, or "" at the end.
        """
        if not self.in_string:
            alone = (not before or before in _BEFORE_VALUE) and (not after or after in _AFTER_VALUE)
            scalar = bool(text.strip()) and _STRUCTURAL.isdisjoint(text)
            return Fit(0, len(text), quoted=True) if alone and scalar else None
        view = replace(self)
        start, end = -1, -1
        for at, char in enumerate(text):
            if not view.in_escape:
                start, end = (at if start < 0 else start), at
            view.read(char)
            if not view.in_string:
                return None
        if not view.in_escape:
            end = len(text)
        return Fit(start, end, quoted=False) if 0 <= start < end else None
