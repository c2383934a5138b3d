"""How inserted text is joined to what the client has already read.

An intervention starts where the released text ends and must read as its continuation: inside a code
block, a table row or a sentence it closes that first. ``ClientView`` reads along with the client,
in constant memory, and knows Markdown's block marks and punctuation but no language.
"""

from __future__ import annotations

import re
import unicodedata

from guardrail.core.segments import ends_sentence

_FENCE = re.compile(r"^([ \t]*)(`{3,}(?=[^`]*$)|~{3,})")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s")
_LINE_HEAD_CHARS = 200  # of a line, only its first and last part matter
_LINE_TAIL_CHARS = 200
_MAX_FENCE_INDENT = 3  # deeper is an indented code block, except inside a list
_ELLIPSIS = "…"


class ClientView:
    """What one lane of the client's answer looks like so far, as far as joining needs it.

    Everything it says depends on what was read, never on the pieces in which it was read (invariant 3).
    """

    def __init__(self) -> None:
        self._head = ""  # the current line's first code points
        self._tail = ""  # and its last ones, when it is longer than that
        self._ticks = 0  # back quotes in the current line
        self._bolds = 0  # "**" in the current line
        self._open_star = False  # the line so far ends with half a "**"
        self._blank_before = True  # the line before the current one is blank, or there is none
        self._fence = ""  # the mark that opened the code block we are in, with its indent
        self._fence_in_item = False  # it stands in a list item and ends with it
        self._in_list = False
        self._item_indent = 0  # how far the text of the latest list item stands to the right
        self.empty = True
        """Nothing but white space was read."""

    def read(self, text: str) -> None:
        """The client got ``text``."""
        if not text.isspace() and text:
            self.empty = False
        *complete, rest = text.split("\n")
        for part in complete:
            self._extend_line(part)
            self._end_line()
        self._extend_line(rest)

    @property
    def _line(self) -> str:
        return self._head + self._tail

    def _extend_line(self, text: str) -> None:
        if not text:
            return
        room = _LINE_HEAD_CHARS - len(self._head)
        self._head += text[:room]
        self._tail = (self._tail + text[room:])[-_LINE_TAIL_CHARS:]
        self._ticks += text.count("`")
        stars = "*" + text if self._open_star else text
        self._bolds += stars.count("**")
        self._open_star = (len(stars) - len(stars.rstrip("*"))) % 2 == 1

    def _end_line(self) -> None:
        line = self._line
        leaves = self._leaves_item(line)
        was_code = bool(self._fence) and not leaves
        self._fence = self._fence_after(line)
        self._blank_before = not line.strip()
        if not was_code:
            self._fence_in_item = self._in_list and not leaves
            item = _LIST_ITEM.match(line)
            if item:
                self._item_indent = item.end()
            self._in_list = bool(
                item or (self._in_list and (self._blank_before or line.startswith((" ", "\t"))))
            )
        self._head, self._tail, self._ticks, self._bolds, self._open_star = "", "", 0, 0, False

    def _leaves_item(self, line: str) -> bool:
        """Whether ``line`` stands too far left to belong to the list item, or to its code block."""
        if self._fence and not self._fence_in_item:
            return False
        return bool(line.strip()) and len(line) - len(line.lstrip(" \t")) < self._item_indent

    def _fence_after(self, line: str) -> str:
        """The code block we are in once ``line`` has ended: its opening mark with its indent, or ""."""
        found = _FENCE.match(line)
        if self._fence and not self._leaves_item(line):
            mark = self._fence.lstrip()
            deepest = _MAX_FENCE_INDENT + (len(self._fence) - len(mark) if self._fence_in_item else 0)
            closes = found and found[2].startswith(mark) and len(found[1]) <= deepest
            return "" if found and closes and not line[found.end() :].strip() else self._fence
        in_item = self._in_list and not self._leaves_item(line)
        if found and (in_item or len(found[1]) <= _MAX_FENCE_INDENT):
            return found[1] + found[2]
        return ""

    @property
    def in_block(self) -> bool:
        """Inside a code block, a table or a list: no place to put a paragraph if it can wait."""
        return bool(
            self._fence
            or self._fence_after(self._line)
            or self._line.lstrip().startswith("|")
            or _LIST_ITEM.match(self._line)
            or (self._in_list and (self._line.startswith((" ", "\t")) or not self._line)),
        )

    def before_insert(self) -> str:
        """What must stand between what was read and a paragraph of ours."""
        if self.empty:
            return ""
        fence = self._fence_after(self._line)
        if fence:
            return ("\n" if self._line else "") + fence + "\n\n"
        if self._fence and not self._leaves_item(self._line):  # the line that closes it has not ended
            return "\n\n"
        if not self._line.strip():
            return "" if self._blank_before else "\n"
        if self._line.lstrip().startswith("|"):
            return "\n\n"
        return self._close_sentence() + "\n\n"

    def _close_sentence(self) -> str:
        marks = "`" if self._ticks % 2 else ""
        marks += "**" if not marks and self._bolds % 2 else ""
        text = self._line.rstrip()
        if ends_sentence(text, "\n") or text.endswith((":", _ELLIPSIS)):
            return marks
        # Letters, digits and the signs that combine with them: Thai and Hindi words end with such.
        glued = unicodedata.category(text[-1])[0] in "LNM" or text[-1] in ")]\"'”’*_`"
        return marks + (_ELLIPSIS if glued or self._line != text else " " + _ELLIPSIS)


def after_insert(following: str) -> str:
    """What must stand between a paragraph of ours and the upstream's ``following`` text.

    Args:
        following: how the upstream goes on; its first four code points are enough.
    """
    if following.startswith(("\n\n", "\r\n\r\n")):
        return ""
    return "\n" if following.startswith(("\n", "\r\n")) else "\n\n"
