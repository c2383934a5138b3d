"""Text of a turn to token ids and spans.

Nothing in a text becomes a special token, so no text can pass itself off as another role's turn or as
the end of its own. Spans are code points of the text as it came, whatever was lower-cased, stripped of
accents or dropped on the way. This file knows no roles and no lanes.

``encode`` is for WordPiece: pieces cut at word ends give together what the whole text gives, because
white space, punctuation and CJK characters separate words and a word is tokenized alone. Two limits to
know of: a word of more than 100 characters becomes one ``[UNK]``, and so does a word with a character
the vocabulary lacks (the default pack has tokens for 900 emoji). ``encode_run`` is for any tokenizer: it leaves the text as it is, and
whoever calls it cuts where it does not matter (``windows``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
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
        self._reserved = self._special_ids()

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

    def encode_run(self, text: str) -> Encoding:
        """The tokens of ``text`` as its classifier was shown such text; no special ones, whatever is in it.

        A Unigram vocabulary holds "</s>" beside the words, so that what someone typed becomes the token. It
        is written out instead, character by character.
        """
        encoded = self._raw(text)
        if self._reserved.isdisjoint(encoded.ids):
            return encoded
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            if token not in self._reserved:
                ids.append(token)
                offsets.append((start, end))
                continue
            for place in range(start, end):
                typed = [each for each in self._raw(text[place]).ids if each not in self._reserved]
                ids += typed
                offsets += [(place, place + 1)] * len(typed)
        return Encoding(ids, offsets)

    def framed(self, text: str, second: str | None = None) -> list[tuple[int, int, int | None]]:
        """One or two segments with the special tokens that the post-processor puts around them.

        Returns:
            For each token its id, its type id, and the segment it is of; None for the special ones.
        """
        encoded = self._tokenizer.encode(text, second, add_special_tokens=True)
        return list(zip(encoded.ids, encoded.type_ids, encoded.sequence_ids, strict=True))

    def reserve(self, ids: Iterable[int]) -> None:
        """Keep ``encode_run`` from giving these, too."""
        self._reserved = self._reserved | frozenset(ids)

    def _raw(self, text: str) -> Encoding:
        if not text.isascii():
            text = _LONE_SURROGATE.sub("\ufffd", text)
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return Encoding(encoded.ids, encoded.offsets)

    def _special_ids(self) -> frozenset[int]:
        """What the file calls special, but for the token of the unknown, which text may well become."""
        model = json.loads(self._path.read_text(encoding="utf-8"))["model"]
        unknown = model.get("unk_token")
        if unknown is None and model.get("unk_id") is not None:
            unknown = model["vocab"][model["unk_id"]][0]
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(each for each, token in added.items() if token.special and token.content != unknown)

    def known_id(self, token: str) -> int:
        """The id of a token as the vocabulary writes it.

        Raises:
            PackError: the vocabulary lacks it.
        """
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise PackError(str(self._path.parent), f"{self._path.name}: no token {token!r}")
        return found

    def reserved_id(self, token: str, *, in_runs: bool = False) -> int:
        """The id of a token that gives the stream its structure and that no text may produce.

        Args:
            token: as the vocabulary writes it.
            in_runs: whether text is tokenized by ``encode_run``, which then never gives it, rather than by
                ``encode``.

        Raises:
            PackError: the vocabulary lacks it, or ``token`` written in a text would become it.
        """
        found = self.known_id(token)
        if found in (self._raw if in_runs else self.encode)(token).ids:
            raise PackError(str(self._path.parent), f"{self._path.name}: text can forge the token {token!r}")
        if in_runs:
            self.reserve([found])
        return found
