"""Which of several wordings comes next: never at random, never what was just said.

A conversation id gives the place to begin, so that conversations differ; the turn moves on from there;
what already stands in an earlier turn is passed over. The same request always gets the same words.
This file knows strings only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

_PLACEHOLDER = re.compile(r"\{[a-z_]*\}")


def choose(options: Sequence[str], *, key: str, turn: int, earlier: Sequence[str]) -> int:
    """The index of the option to use.

    Args:
        options: not empty; placeholders such as ``{emergency}`` in them match anything.
        key: what should make a difference (conversation, category, ...).
        turn: how many times an option of this kind may have been used before.
        earlier: what was said before, oldest first, as ``normalised``.
    """
    digest = hashlib.sha256(key.encode()).digest()
    start = (int.from_bytes(digest[:8], "big") + turn) % len(options)
    order = [(start + step) % len(options) for step in range(len(options))]
    # ``min`` keeps the first of equals: unsaid options (-1) in their order, then the one longest ago.
    return min(order, key=lambda at: _last_said(options[at], earlier))


def normalised(texts: Sequence[str]) -> Sequence[str]:
    """``texts`` with every run of white space as one space, so that line breaks do not hide a repetition."""
    return [" ".join(text.split()) for text in texts]


def _last_said(option: str, earlier: Sequence[str]) -> int:
    """Index of the latest earlier text holding the longest fixed part of ``option``, or -1."""
    fragment = max((" ".join(part.split()) for part in _PLACEHOLDER.split(option)), key=len)
    return next((at for at in range(len(earlier) - 1, -1, -1) if fragment in earlier[at]), -1)
