"""Text of a turn to token ids and spans.

Pieces cut at word ends give together what the whole text gives: white space, punctuation and CJK
characters separate words, and a word is tokenized alone. Nothing in a text becomes a special token, so
no text can pass itself off as another role's turn. Spans are code points of the text as it came,
whatever was lower-cased, stripped of accents or dropped on the way.

Two limits of WordPiece to know of: a word of more than 100 characters becomes one ``[UNK]``, and so
does a word with a character the vocabulary lacks (most emoji). This file knows no roles and no lanes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from guardrail.errors import PackError

# Python calls these white space and cuts words there; BERT's normalizer deletes them and so would glue
# the neighbours together. A space in their place makes both agree, at the same length.
_CONTROL_SPACE = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
# The core takes these (iteration marks, signs, rare ideographs) for words by themselves, BERT glues them to
# their neighbours or deletes them. A rare ideograph in their place is a word to both; none is in BERT's
# vocabulary, so nothing is lost.
_GLUED_WIDE = re.compile(
    "[\u3004-\u3007\u3012\u3013\u3020-\u302f\u3031-\u303c\u303e\u303f\uff00\uff04\uff0b"
    "\U0002a6e0-\U0002a6ff\U0002b820-\U0002b91f\U0002ceb0-\U0002f7ff\U0002fa20-\U0003ffff]"
)
_RARE_IDEOGRAPH = "\u3400"
# A lone surrogate cannot be passed to the tokenizer at all. The replacement character is dropped by it.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# 2,000 code points, one or two milliseconds, and then to the end of the word.
_PART = re.compile("[\\s\\S]{1,2000}[^ \n]*")


@dataclass(frozen=True, slots=True)
class Encoding:
    """The tokens of a piece of text: two lists of equal length."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    """Start and end of each token, code points of the piece."""


class TextTokenizer:
    """The pack's tokenizer, with every special meaning of text taken away.

    Args:
        path: a ``tokenizer.json``.

    Raises:
        PackError: the file is not a tokenizer.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise PackError(str(path.parent), f"{path.name} is not a tokenizer: {error}") from error
        self._path = path
        # A sentence encoder's file may cut and pad to a fixed length.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # "[CLS]" in a text is five characters someone typed.
        self._tokenizer.encode_special_tokens = True

    def encode(self, text: str) -> Encoding:
        """The tokens of ``text``; white space alone gives none."""
        if not text.isascii():
            text = _GLUED_WIDE.sub(_RARE_IDEOGRAPH, _LONE_SURROGATE.sub("\ufffd", text))
        text = _CONTROL_SPACE.sub(" ", text)
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return Encoding(encoded.ids, encoded.offsets)

    def encode_in_parts(self, text: str) -> Iterator[Encoding]:
        """``encode``, a few thousand code points at a time.

        Whoever serves others can turn to them in between. Offsets are of the whole text.
        """
        for part in _PART.finditer(text):
            encoding = self.encode(part.group())
            start = part.start()
            yield Encoding(encoding.ids, [(start + first, start + last) for first, last in encoding.offsets])

    def reserved_id(self, token: str) -> int:
        """The id of a token that gives the stream its structure and that no text may produce.

        Raises:
            PackError: the vocabulary lacks it, or ``token`` written in a text would become it.
        """
        where = str(self._path.parent)
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise PackError(where, f"{self._path.name}: no token {token!r}")
        if found in self.encode(token).ids:
            raise PackError(where, f"{self._path.name}: text can forge the token {token!r}")
        return found
