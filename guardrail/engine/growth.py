r"""The tokens of a turn as it grows, for a network that is shown each of them once.

Two ways to tokenize. ``Words``: a word's tokens depend on the word alone (WordPiece), so text is tokenized as it
comes. ``Runs``: a tokenizer that looks further (Byte-level BPE, whose ".\n\n" or "漢字" may be one token), under
these rules:

Rule 1: text is tokenized run by run. A run begins at a space behind anything that is no white space, where no
such tokenizer joins, and is cut at the word end before it would pass ``MAX_RUN_CHARS``.
Rule 2: at every place where a turn is judged, the network has been shown the very tokens that the text up to
there gives. If more text turns the last of them into others, those are taken back and the others shown.
Rule 3: a turn is judged at every word end of ``core.segments``, or, if it is judged at its end, where a sentence
or a line ends and where the text handed over ends, by a token that closes the turn, which is taken back when the
turn goes on. What was judged is not judged again.

So what the network sees depends on the text, never on how it was cut into calls (invariant 3). Text in, tokens
out; no network, no lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.engine.tokenizer import Encoding
from guardrail.engine.windows import LOOK_BACK, MAX_RUN_CHARS, PlacedToken, ends_sentence_or_line, placed

Spans = tuple[Span, ...]

_WORDS_AT_A_TIME = 64
"""Words read, about a millisecond, before others get their turn."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What a piece of text changes in what the network is shown of its turn."""

    back: int
    """So many of the turn's last tokens are taken back first."""
    ids: tuple[int, ...]
    """Shown next."""
    spans: tuple[Spans, ...]
    """What each of them judges, code points of the turn; often one span, none for white space."""


class GrowingTurn(Protocol):
    """A turn as it grows."""

    def copy(self) -> GrowingTurn:
        """An independent turn of the same state."""
        ...

    def read(self, text: str, *, scored: bool) -> Iterator[list[Growth]]:
        """Take the continuation of the turn.

        Yields now and then, so that whoever serves others can turn to them in between.
        """
        ...

    def provisional(self) -> int:
        """How many of the last tokens stand for a turn that is over and have to be taken back."""
        ...


class Words:
    """A turn whose words are tokenized alone.

    Args:
        encode_in_parts: tokenizes a text, part by part.
    """

    def __init__(self, encode_in_parts: Callable[[str], Iterator[Encoding]]) -> None:
        self._encode_in_parts = encode_in_parts
        self._length = 0

    def copy(self) -> Words:
        """An independent turn of the same state."""
        copy = Words(self._encode_in_parts)
        copy._length = self._length
        return copy

    def read(self, text: str, *, scored: bool) -> Iterator[list[Growth]]:
        """Take the continuation of the turn."""
        for part in self._encode_in_parts(text):
            spans: list[Spans] = [()] * len(part.ids)
            if scored:
                spans = [(Span(self._length + start, self._length + end),) for start, end in part.offsets]
            yield [Growth(0, tuple(part.ids), tuple(spans))]
        self._length += len(text)

    def provisional(self) -> int:
        """None."""
        return 0


class Runs:
    """A turn that is tokenized in runs.

    Args:
        encode: tokenizes a run.
        closing: the token that judges it at its end; None where every word is judged.
    """

    def __init__(self, encode: Callable[[str], Encoding], closing: int | None = None) -> None:
        self._encode = encode
        self._closing = closing
        self._run = ""
        self._shown: tuple[int, ...] = ()  # of the open run, and a closing token behind it
        self._length = 0
        self._judged = 0
        self._waiting: Spans = ()  # of runs before, to be judged where the next sentence ends
        self._before = ""

    def copy(self) -> Runs:
        """An independent turn of the same state."""
        copy = Runs(self._encode, self._closing)
        copy._run, copy._shown, copy._length = self._run, self._shown, self._length
        copy._judged, copy._waiting, copy._before = self._judged, self._waiting, self._before
        return copy

    def read(self, text: str, *, scored: bool) -> Iterator[list[Growth]]:
        """Take the continuation of the turn."""
        growths: list[Growth] = []
        start = 0
        for number, end in enumerate(word_ends(text, final=True), start=1):
            growths += self._take(text[start:end])
            start = end
            if not scored:
                self._judged = self._length
            elif end == len(text) or self._closing is None or ends_sentence_or_line(self._before, text, end):
                growths.append(self._judge())
            if number % _WORDS_AT_A_TIME == 0:
                yield growths
                growths = []
        if not scored and self._run:
            self._waiting = ()
            growths.append(self._show(self._tokens(), ()))
        self._before = (self._before + text)[-LOOK_BACK:]
        yield growths

    def provisional(self) -> int:
        """The closing token, if it is the last."""
        return 1 if self._shown and self._shown[-1] == self._closing else 0

    def _take(self, word: str) -> Iterator[Growth]:
        new_run = self._run and word[0] == " " and not self._run[-1].isspace()
        if new_run or len(self._run) + len(word) > MAX_RUN_CHARS:
            tokens = self._tokens()
            self._waiting += tuple(self._unjudged(tokens))
            yield self._show(tokens, ())
            self._run, self._shown = "", ()
        self._run += word
        self._length += len(word)

    def _judge(self) -> Growth:
        tokens = self._tokens()
        if self._closing is None:
            return self._show(tokens, self._each_judges(tokens))
        spans = (*self._waiting, *self._unjudged(tokens))
        self._waiting, self._judged = (), self._length
        if not spans:
            return self._show(tokens, ())
        closing = PlacedToken(self._closing, self._length, self._length)
        return self._show([*tokens, closing], ((),) * len(tokens) + (spans,))

    def _tokens(self) -> list[PlacedToken]:
        return placed(self._encode(self._run), self._run, self._length - len(self._run))

    def _unjudged(self, tokens: list[PlacedToken]) -> Iterator[Span]:
        for token in tokens:
            if token.start < token.end > self._judged:
                yield Span(max(token.start, self._judged), token.end)
                self._judged = token.end

    def _each_judges(self, tokens: list[PlacedToken]) -> tuple[Spans, ...]:
        """What every token judges; of several that are the bytes of one character, the last."""
        spans: list[Spans] = []
        for index, token in enumerate(tokens):
            split = index + 1 < len(tokens) and tokens[index + 1].start < token.end
            spans.append(() if split else tuple(self._unjudged([token])))
        return tuple(spans)

    def _show(self, tokens: list[PlacedToken], spans: tuple[Spans, ...]) -> Growth:
        """The change from what was shown of the run to ``tokens``; without ``spans`` they judge nothing."""
        ids = tuple(token.id for token in tokens)
        common = 0
        while common < min(len(ids), len(self._shown)) and ids[common] == self._shown[common]:
            common += 1
        back = len(self._shown) - common
        self._shown = ids
        return Growth(back, ids[common:], spans[common:] or ((),) * (len(ids) - common))
