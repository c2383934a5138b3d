"""How inserted text is joined to what the client has already read.

An intervention starts where the released text ends and must read as its continuation: inside a code
block, a table row or a sentence it closes that first. ``ClientView`` reads along with the client,
in constant memory, and knows Markdown's block marks and punctuation but no language.
"""

from __future__ import annotations

import re

from guardrail.core.segments import ends_sentence

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s")
_LINE_CHARS = 2000  # of a line, only its first and last part matter
_ELLIPSIS = "…"


class ClientView:
    """What one lane of the client's answer looks like so far, as far as joining needs it."""

    def __init__(self) -> None:
        self._line = ""
        self._blank_before = True  # the line before the current one is blank, or there is none
        self._fence = ""  # the mark that opened the code block we are in
        self._in_list = False
        self.empty = True
        """Nothing but white space was read."""

    def read(self, text: str) -> None:
        """The client got ``text``."""
        if not text.isspace() and text:
            self.empty = False
        *complete, rest = text.split("\n")
        for part in complete:
            self._end_line(self._line + part)
            self._line = ""
        self._line += rest
        if len(self._line) > _LINE_CHARS:
            self._line = self._line[:200] + self._line[-200:]

    def _end_line(self, line: str) -> None:
        fence = _FENCE.match(line)
        if self._fence:
            closes = fence and fence[1].startswith(self._fence) and not line[fence.end() :].strip()
            if closes:
                self._fence = ""
        elif fence:
            self._fence = fence[1]
        self._blank_before = not line.strip()
        self._in_list = bool(_LIST_ITEM.match(line)) or (
            self._in_list and (self._blank_before or line.startswith((" ", "\t")))
        )

    @property
    def in_block(self) -> bool:
        """Inside a code block, a table or a list: no place to put a paragraph if it can wait."""
        fence_opens = _FENCE.match(self._line) is not None
        return bool(
            self._fence
            or fence_opens
            or self._line.lstrip().startswith("|")
            or _LIST_ITEM.match(self._line)
            or (self._in_list and (self._line.startswith((" ", "\t")) or not self._line)),
        )

    def before_insert(self) -> str:
        """What must stand between what was read and a paragraph of ours."""
        if self.empty:
            return ""
        if self._fence:
            return ("\n" if self._line else "") + self._fence + "\n\n"
        opened = _FENCE.match(self._line)
        if opened:
            return "\n" + opened[1] + "\n\n"
        if not self._line.strip():
            return "" if self._blank_before else "\n"
        if self._line.lstrip().startswith("|"):
            return "\n\n"
        return self._close_sentence() + "\n\n"

    def _close_sentence(self) -> str:
        marks = "`" if self._line.count("`") % 2 else ""
        body = _LIST_ITEM.sub("", self._line)
        marks += "**" if not marks and body.count("**") % 2 else ""
        text = self._line.rstrip()
        if ends_sentence(text, "\n") or text.endswith((":", _ELLIPSIS)):
            return marks
        glued = text[-1:].isalnum() or text[-1:] in ")]\"'”’*_`"
        return marks + (_ELLIPSIS if glued or self._line != text else " " + _ELLIPSIS)


def after_insert(following: str) -> str:
    """What must stand between a paragraph of ours and the upstream's ``following`` text.

    Args:
        following: how the upstream goes on; its first two code points are enough.
    """
    if following.startswith(("\n\n", "\r\n\r\n")):
        return ""
    return "\n" if following.startswith(("\n", "\r\n")) else "\n\n"
