"""Ways to cut a text into chunks. What a client sees must not depend on which one is taken."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence


def whole(text: str) -> list[str]:
    """All at once."""
    return [text] if text else []


def by_character(text: str) -> list[str]:
    """One code point at a time."""
    return list(text)


def at(text: str, cuts: Iterable[int]) -> list[str]:
    """Cut at the given positions; out of range and repeated ones are ignored."""
    inside = sorted({cut for cut in cuts if 0 < cut < len(text)})
    return [text[a:b] for a, b in zip([0, *inside], [*inside, len(text)], strict=True) if b > a]


def randomly(text: str, seed: int, mean_chars: float = 4.0) -> list[str]:
    """Cut at random, about every ``mean_chars`` code points."""
    lots = random.Random(seed)  # noqa: S311 - reproducible cuts, no secret
    return at(text, [i for i in range(1, len(text)) if lots.random() < 1 / mean_chars])


def three_ways(text: str, seed: int = 0) -> Sequence[list[str]]:
    """Whole, character by character and at random: what every stream test runs."""
    return whole(text), by_character(text), randomly(text, seed)
