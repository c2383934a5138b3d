"""Which windows a turn is judged by: a pure function of its text, never of how it was cut into calls.

Rule 1: a window ends where the core says that a word ends (``core.segments``), at every such place; for
turns judged by sentence, at those that end a sentence or a line, and where the text handed over ends.
Rule 2: a token is judged by the first window that holds it, once.
Rule 3: with ``n`` tokens up to its end, a window begins at 0, or at the first multiple of ``stride`` that
leaves it ``capacity`` tokens at most. Two windows in a row that begin at different places overlap by
``capacity - stride`` tokens or more, less what stands between their ends. What is too long for one window
(a sentence, a word of very many tokens) is judged by several, each of them one stride further.
Rule 4: text is tokenized run by run: white space and what follows it up to the next. Inside a run without
white space (Chinese, a URL) words end, too; there the run so far is tokenized anew, so that a window
always holds the very tokens that its text gives.

Text and token ids in, windows out; no network, no roles. A turn keeps a window's worth of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from guardrail.core.segments import ends_sentence, word_ends
from guardrail.core.spans import Span
from guardrail.engine.manifest_window import JudgedAt
from guardrail.engine.tokenizer import Encoding

MAX_RUN_CHARS = 256
"""A run is cut at the word end before it would pass this; bounds what is tokenized anew for each word."""
LOOK_BACK = 64
"""Code points; more than any sentence rule needs."""
_LINE_END = re.compile(r"\s*?\n")


class PlacedToken(NamedTuple):
    """A token and where it stands."""

    id: int
    start: int
    """Code points of the turn, white space around it taken off; a token of white space has no width."""
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """What the network is to be shown of a turn, and which tokens that judges."""

    ids: tuple[int, ...]
    spans: tuple[Span, ...]
    """The tokens it is the first to hold, at least one; code points of the turn, in order, none twice."""


@dataclass(frozen=True, slots=True)
class Windowing:
    """The rules for the turns of one role."""

    judged_at: JudgedAt
    capacity: int
    """Tokens of the turn that fit into a window; at least ``stride``."""
    stride: int

    def begin(self, end: int) -> int:
        """Where the window begins that ends before token ``end``."""
        return self.stride * max(0, -(-(end - self.capacity) // self.stride))

    def furthest(self, first: int) -> int:
        """Where the longest window ends that still holds token ``first``."""
        return first // self.stride * self.stride + self.capacity


class Turn:
    """A turn as it grows.

    Args:
        encode: tokenizes a run.
        rules: where its windows begin and end.
        remembered: how many of its last tokens may be asked for as context of a later turn.
    """

    def __init__(self, encode: Callable[[str], Encoding], rules: Windowing, remembered: int = 0) -> None:
        self._encode = encode
        self._rules = rules
        self._kept = max(rules.capacity, remembered)
        self._closed: list[PlacedToken] = []  # of the runs before the open one, the last of them
        self._dropped = 0  # tokens before those
        self._run = ""
        self._run_tokens: list[PlacedToken] | None = []  # None: it has grown since it was tokenized
        self._length = 0
        self._judged = 0
        self._before = ""

    def copy(self) -> Turn:
        """An independent turn of the same state."""
        copy = Turn(self._encode, self._rules)
        copy._kept = self._kept
        copy._closed, copy._dropped = list(self._closed), self._dropped
        copy._run, copy._run_tokens = self._run, self._run_tokens
        copy._length, copy._judged, copy._before = self._length, self._judged, self._before
        return copy

    def last_ids(self, count: int) -> tuple[int, ...]:
        """The turn's last tokens, ``count`` at most and as many as were to be remembered."""
        tokens = [*self._closed, *self._open_tokens()]
        return tuple(token.id for token in tokens[max(0, len(tokens) - count) :])

    def read(self, text: str) -> Iterator[list[Window]]:
        """Take the continuation of the turn; the windows that judge it, in order.

        Yields after every word, mostly nothing where sentences are judged, so that whoever serves others
        can turn to them in between.
        """
        judged_at = self._rules.judged_at
        start = 0
        for end in word_ends(text, final=True):
            self._take(text[start:end])
            if judged_at == "words" or (
                judged_at == "sentences" and ends_sentence_or_line(self._before, text, end)
            ):
                yield self._windows()
            else:
                yield []
            start = end
        if judged_at == "sentences":
            yield self._windows()
        self._before = (self._before + text)[-LOOK_BACK:]

    def _take(self, word: str) -> None:
        if self._run and (word[0].isspace() or len(self._run) + len(word) > MAX_RUN_CHARS):
            self._closed += self._open_tokens()
            self._run = ""
            self._forget()
        self._run += word
        self._run_tokens = None
        self._length += len(word)
        if self._rules.judged_at == "never":
            self._judged = self._length

    def _forget(self) -> None:
        """Let go of tokens that no later window can hold."""
        spare = len(self._closed) - self._kept
        count = 0
        # A stretch of several windows begins on the grid, less than a stride before its first token.
        while count < spare and self._closed[count + self._rules.stride].end <= self._judged:
            count += 1
        del self._closed[:count]
        self._dropped += count

    def _open_tokens(self) -> list[PlacedToken]:
        if self._run_tokens is None:
            self._run_tokens = placed(self._encode(self._run), self._run, self._length - len(self._run))
        return self._run_tokens

    def _windows(self) -> list[Window]:
        """The windows that judge what has not been judged; none if that is white space."""
        tokens = [*self._closed, *self._open_tokens()]
        first = len(tokens)
        while first and tokens[first - 1].end > self._judged:
            first -= 1
        while first < len(tokens) and tokens[first].start == tokens[first].end:
            first += 1  # white space that has a token of its own is nothing to judge
        windows: list[Window] = []
        last = len(tokens)
        if self._begin(last) > first:
            last = self._rules.furthest(first + self._dropped) - self._dropped
        while first < last:
            spans = self._judge(tokens[first:last])
            if spans:
                ids = tuple(token.id for token in tokens[self._begin(last) : last])
                windows.append(Window(ids, spans))
            first, last = last, min(len(tokens), last + self._rules.stride)
        return windows

    def _begin(self, last: int) -> int:
        begin = self._rules.begin(last + self._dropped) - self._dropped
        assert begin >= 0, "a window needs tokens that were let go of"
        return begin

    def _judge(self, tokens: Sequence[PlacedToken]) -> tuple[Span, ...]:
        spans: list[Span] = []
        for token in tokens:
            # The bytes of one character may be several tokens, and a run may be tokenized otherwise than
            # when it was shorter: what was judged is not judged again.
            start = max(token.start, self._judged)
            if start < token.end:
                spans.append(Span(start, token.end))
                self._judged = token.end
        return tuple(spans)


def ends_sentence_or_line(before: str, text: str, end: int) -> bool:
    """Whether a sentence or a line ends at ``end`` of ``text``, which follows ``before``."""
    if _LINE_END.match(text, end):
        return True
    before += text[max(0, end - LOOK_BACK) : end]
    return ends_sentence(before[-LOOK_BACK:], text[end : end + 4])


def placed(encoding: Encoding, run: str, offset: int) -> list[PlacedToken]:
    """The tokens of a run that begins at ``offset`` of its turn, each without the white space around it."""
    tokens: list[PlacedToken] = []
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        after_space = run[start:end].lstrip()
        first = offset + end - len(after_space)
        tokens.append(PlacedToken(token, first, first + len(after_space.rstrip())))
    return tokens
