"""Where a word and a sentence end: pure functions of the text, never of how it arrived.

Rule 1: a cut depends on the code points around it and on the distance to the cut before, on nothing
else. Chunks, timers and scores cannot move it; that is what makes invariant 3 provable.

A *word* is white space followed by everything up to the next white space; a Han character or a piece
of CJK punctuation is a word by itself, and a run without any boundary is cut every ``MAX_WORD_CHARS``
(Thai, long URLs, base64), so that scoring can never trail arrival by more than that.
"""

from __future__ import annotations

import re
from itertools import pairwise

MAX_WORD_CHARS = 64
"""Longest word, and longest white space before one, in code points. WordPiece gives up on words over 100
characters, so cut well before."""

_TERMINATORS = ".!?…।॥؟۔։።။។"
_WIDE_TERMINATORS = "。！？｡"
_WIDE_CLOSERS = "」』）】》〉〕"
_CLOSERS = "\"'”’)]}»*_`" + _WIDE_CLOSERS
_ABBREVIATIONS = frozenset(
    {
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "vs",
        "e.g",
        "i.e",
        "cf",
        "no",
        "fig",
        "approx",
        "inc",
        "ltd",
        "u.s",
    },
)
_NUMBERED_ITEM = re.compile(r"(?:^|\n)[ \t]*\d{1,3}$")
_PLAIN_END = re.compile(r"(?<=\S)\s")
_TAIL = 48  # a sentence's last word, abbreviation or list number is shorter than this


def is_wide(char: str) -> bool:
    """Whether the character is a word by itself: Han, CJK punctuation, full-width forms."""
    code = ord(char)
    return code >= 0x3000 and (
        code <= 0x303F
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0xFF00 <= code <= 0xFF0F
        or 0x20000 <= code <= 0x3FFFF
    )


def word_ends(text: str, *, final: bool = False) -> list[int]:
    """Every position in ``text`` where a word ends and is known to end.

    Args:
        text: text that begins at a word boundary.
        final: nothing follows; then the end of the text ends its last word.

    Returns:
        Ascending positions in (0, len(text)]. What follows the last of them is the open word.
    """
    if text.isascii():
        # Nearly all English: words end before white space, as long as none is so long that it must be cut.
        ends = [space.start() for space in _PLAIN_END.finditer(text)]
        if final and text and ends[-1:] != [len(text)]:
            ends.append(len(text))
        if len(text) < MAX_WORD_CHARS or all(
            end - start < MAX_WORD_CHARS for start, end in pairwise((0, *ends, len(text)))
        ):
            return ends
    return _ends_of_any(text, final=final)


def _ends_of_any(text: str, *, final: bool) -> list[int]:
    ends: list[int] = []
    start = 0
    body = -1  # where the word's first character that is not white space stands
    for i, char in enumerate(text):
        if char.isspace():
            if body >= 0:
                ends.append(i)
                start, body = i, -1
        elif is_wide(char):
            if body >= 0:
                ends.append(i)
            ends.append(i + 1)
            start, body = i + 1, -1
            continue
        elif body < 0:
            body = i
        # White space and what follows it count apart: spaces in front must not cut a word in two.
        if i + 1 - (start if body < 0 else body) >= MAX_WORD_CHARS:
            ends.append(i + 1)
            start, body = i + 1, -1
    if final and start < len(text):
        ends.append(len(text))
    return ends


def scorable(text: str, *, final: bool = False) -> int:
    """How much of ``text``, which begins at a word boundary, can be scored in one piece.

    That is up to the last known word end, but never past a cut inside a run: a classifier's tokenizer
    finds the other boundaries by itself, this one only if the text ends there.
    """
    ends = word_ends(text, final=final)
    for start, end in pairwise((0, *ends)):
        if end - start < MAX_WORD_CHARS:
            continue  # not cut for its length
        if end < len(text) and not any(char.isspace() or is_wide(char) for char in text[end - 1 : end + 1]):
            return end
    return ends[-1] if ends else 0


def ends_sentence(before: str, after: str) -> bool:
    """Whether a sentence ends between ``before`` and ``after``.

    Args:
        before: the text up to the position; its last few dozen code points are enough.
        after: what follows; its first four code points are enough.
    """
    if not before:
        return False
    if after.startswith(("\n\n", "\r\n\r\n")):
        return True
    stripped = before[-_TAIL:].rstrip(_CLOSERS)
    if not stripped:
        return False
    if stripped[-1] in _WIDE_TERMINATORS:
        # No space follows these: what closes the sentence, or ends it once more, still belongs to it.
        return not after.startswith((*_CLOSERS, *_WIDE_TERMINATORS, *_TERMINATORS))
    if stripped[-1] not in _TERMINATORS or not after[:1].isspace():
        return False
    if stripped[-1] != ".":
        return True
    body = stripped[:-1]
    if _NUMBERED_ITEM.search(body):
        return False
    last = body.rsplit(None, 1)[-1] if body.strip() else ""
    return last.lower().lstrip("(\"'“‘") not in _ABBREVIATIONS and not (len(last) == 1 and last.isupper())
